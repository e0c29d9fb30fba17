"""SDEdit against the arrays of its reference code: same weights, same draws, same pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.controls import GivenRegion
from headwater.core import Diffusion
from headwater.methods.translation.sdedit.method import SDEdit
from headwater.models import Prior, PriorConfig, ProcessConfig

NAMES = (
    (r"temb\.dense\.0", "time_embedding.linear_1"),
    (r"temb\.dense\.1", "time_embedding.linear_2"),
    (r"norm_out", "conv_norm_out"),
    (r"temb_proj", "time_emb_proj"),
    (r"nin_shortcut", "conv_shortcut"),
    (r"(down|up)\.(\d)\.block", r"\1_blocks.\2.resnets"),
    (r"(down|up)\.(\d)\.attn", r"\1_blocks.\2.attentions"),
    (r"(down|up)\.(\d)\.(down|up)sample", r"\1_blocks.\2.\3samplers.0"),
    (r"mid\.block_1", "mid_block.resnets.0"),
    (r"mid\.block_2", "mid_block.resnets.1"),
    (r"mid\.attn_1", "mid_block.attentions.0"),
    (r"(attentions\.\d)\.norm", r"\1.group_norm"),
    (r"(attentions\.\d)\.([qkv])\.", r"\1.to_\2."),
    (r"(attentions\.\d)\.proj_out", r"\1.to_out.0"),
)
"""Parts of the reference's network and their names in diffusers' UNet2DModel."""


def weights(stored: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """The reference's weights under diffusers' names, which count upwards levels from the coarsest."""
    found: dict[str, Tensor] = {}
    for name, value in stored.items():
        new = re.sub(r"^up\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
        for old, ours in NAMES:
            new = re.sub(old, ours, new)
        linear = "attentions" in new and value.ndim == 4
        found[new] = value[..., 0, 0] if linear else value
    return found


def prior_of(ref: Golden) -> Prior:
    """The network of the file, with its chain; nothing is clipped, as there."""
    model, chain = ref.config["config"]["model"], ref.config["config"]["diffusion"]
    side, sides = ref["in/guide"].shape[-1], [ref["in/guide"].shape[-1] >> i for i in range(2)]
    attends = [s in model["attn_resolutions"] for s in sides]
    network = {
        "kind": "unet2d",
        "sample_size": side,
        "block_out_channels": tuple(model["ch"] * m for m in model["ch_mult"]),
        "layers_per_block": model["num_res_blocks"],
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        "attention_head_dim": None,
        "norm_eps": 1e-6,
        "downsample_padding": 0,
        "freq_shift": 1,
        "flip_sin_to_cos": False,
    }
    low, high, T = chain["beta_start"], chain["beta_end"], chain["num_diffusion_timesteps"]
    process = ProcessConfig(betas=tuple(torch.linspace(low, high, T, dtype=torch.float64).tolist()), T=T)
    config = PriorConfig(network, (3, side, side), process, clip=False)
    built = config.build_network()
    built.load_state_dict(weights(ref.under("w"), len(sides)), strict=True)
    return Prior(built.eval(), config)


def draws(stored: list[Tensor], level: int, masked: bool) -> Iterator[Tensor]:
    """The reference's draws in our order. It takes one field a repeat for the start and for all that is
    given, where we draw for each step; and it draws for the step into 0 too."""
    for first in range(0, len(stored), level + 1):
        start, *steps = stored[first : first + level + 1]
        yield start
        for t, noise in zip(range(level, 0, -1), steps, strict=True):
            if t > 1:
                yield noise
            if masked:
                yield start


def test_the_network(golden: Callable[[str], Golden]) -> None:
    ref = golden("translation/sdedit")
    prior = prior_of(ref)
    close(1 - (prior.process.alpha[1:] / prior.process.alpha[:-1]) ** 2, ref["out/betas"], 1e-7)
    for t in ref.config["t"]:
        with torch.no_grad():
            close(prior.network(ref["in/xt"], torch.full((2,), float(t))), ref[f"out/forward/t{t}"], 2e-5)


@pytest.mark.parametrize("run", [0, 1])
def test_the_loop(
    golden: Callable[[str], Golden], replayed: Any, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    """The reference puts what is given in place with the noise of the timestep before: so does this run, but
    for the end, where ours is the guide itself, as with them when the next repeat begins."""
    ref = golden("translation/sdedit")
    prior, about = prior_of(ref), ref.config["runs"][run]
    name, level, q = about["name"], about["t0"], prior.process
    known = ref["in/mask"][None, :1] > 0.5
    put = GivenRegion.put

    class Before(Diffusion):
        def sample(self, x0: Tensor, t: Any, noise: Any) -> Tensor:
            return q.sample(x0, t + 1 if t else 0, noise)

    late = Before(q.alpha, q.sigma, q.label)
    monkeypatch.setattr(GivenRegion, "put", lambda self, x, t: put(replace(self, process=late), x, t))
    steps = replayed(Tape(draws(list(ref.under(f"noise/{name}").values()), level, about["mask"])))
    guide = (2 * ref["in/guide"] - 1).expand(2, -1, -1, -1)
    # One mask serves all channels.
    assert torch.equal(ref["in/mask"][:1].expand(3, -1, -1), ref["in/mask"])
    given = known if about["mask"] else torch.zeros_like(known)
    method = SDEdit(level, repeats=about["repeats"])
    edited = method.apply(prior, guide, known if about["mask"] else None, device="cpu", progress=False)
    down, stored = [step for step in steps if step.pred], ref.under(f"out/{name}")
    close(torch.stack([step.pred.x for step in down]), stored["step_input"], 1e-4)
    close(edited, guide.where(given, stored["saved"][-1]), 1e-4)
