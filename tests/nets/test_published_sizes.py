"""Published networks at their true size, on the meta device: names, shapes and counts.

`published_sizes.json` holds, for each, the number of tensors, of numbers, and the SHA-256 of all lines
"name shape" in order of name. Guided diffusion's were computed from the reference implementation
(openai/guided-diffusion), built with the options that its README gives for each file; FFHQ's are LSUN's.
Those of the score networks are this package's own, whose names tests/parity loads strictly from small
networks of the reference.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from headwater.models.published import NETWORKS, built

TABLE: dict[str, tuple[int, int, str]] = json.loads(
    Path(__file__).with_name("published_sizes.json").read_text()
)


def summary(name: str) -> list[int | str]:
    with torch.device("meta"):
        state = built(NETWORKS[name]).state_dict()
    assert all(tensor.is_meta for tensor in state.values())
    lines = "".join(f"{key} {list(tensor.shape)}\n" for key, tensor in sorted(state.items()))
    count = sum(tensor.numel() for tensor in state.values())
    return [len(state), count, hashlib.sha256(lines.encode()).hexdigest()]


def test_every_published_network_is_in_the_table() -> None:
    assert NETWORKS.keys() == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_names_shapes_and_counts_are_the_published_ones(name: str) -> None:
    assert summary(name) == list(TABLE[name])


def test_names_and_shapes_that_users_saw_in_the_published_file() -> None:
    """As printed by torch for 256x256_diffusion_uncond's layout in hyungjin-chung/MCG_diffusion, issue 1."""
    with torch.device("meta"):
        state = built(NETWORKS["256x256_diffusion_uncond"]).state_dict()
    seen = {
        "input_blocks.2.0.emb_layers.1.bias": (512,),
        "input_blocks.2.0.out_layers.0.weight": (256,),
        "input_blocks.2.0.out_layers.3.weight": (256, 256, 3, 3),
        "input_blocks.3.0.in_layers.0.weight": (256,),
    }
    assert {name: tuple(state[name].shape) for name in seen} == seen


def test_score_networks_have_the_counts_of_their_settings() -> None:
    """Parameters, the table of sigmas (1,000 or 2,000 numbers) aside."""
    counts = {name: TABLE[name][1] for name in TABLE if "/" in name}
    assert counts == {
        "ve/cifar10_ncsnpp_continuous": 62_758_915 + 1000,
        "ve/cifar10_ncsnpp_deep_continuous": 107_587_075 + 1000,
        "vp/cifar10_ddpmpp_continuous": 61_804_419 + 1000,
        "vp/cifar10_ddpmpp_deep_continuous": 106_632_579 + 1000,
        "ve/fastmri_knee_320_ncsnpp_continuous": 61_433_601 + 2000,
    }
