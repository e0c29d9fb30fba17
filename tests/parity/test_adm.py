"""The U-Net and its classifier against openai/guided-diffusion, number by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from headwater.nets.adm import UNet
from headwater.nets.adm_blocks import timestep_embedding
from headwater.nets.adm_classifier import Classifier, ClassifierConfig
from headwater.nets.infer import HEADS, infer_classifier_config, infer_config

TOLERANCE = 2e-5  # other convolution kernels than the reference run's
FILES = ["unet_a_legacy_updown", "unet_b_neworder", "unet_c_conv_class", "unet_d_gray_nonsquare"]


@pytest.fixture(params=FILES)
def case(request: pytest.FixtureRequest, golden: Callable[[str], Any]) -> tuple[Any, UNet]:
    data = golden(f"adm/{request.param}")
    return data, data.unet()


def labels(data: Any) -> torch.Tensor | None:
    return data.under("in").get("y")


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_forward_agrees(case: tuple[Any, UNet]) -> None:
    data, unet = case
    x, times = data["in/x"], data.config["t"]
    for t in times:
        close(unet(x, torch.full((2,), t), labels(data)), data[f"out/forward/t{t}"])
    mixed = torch.tensor(times[:2], dtype=torch.float32)
    close(unet(x, mixed, labels(data)), data["out/forward/mixed"])


@torch.no_grad()
def test_every_block_agrees(case: tuple[Any, UNet]) -> None:
    data, unet = case
    y = labels(data)
    t = torch.tensor([data.config["t"][1]])
    outputs = dict(unet.stages(data["in/x"][:1], t, None if y is None else y[:1]))
    stored = data.under("out/act")
    assert len(stored) > 8
    for name, expected in stored.items():
        folder, _, index = name.partition("/")
        close(outputs[f"{folder}.{int(index)}" if index else folder], expected)


@torch.no_grad()
def test_embeddings_agree(case: tuple[Any, UNet]) -> None:
    data, unet = case
    table = timestep_embedding(torch.tensor([0, 1, 17, 999]), unet.config.model_channels)
    close(table, data["out/timestep_embedding"])
    sinusoids = timestep_embedding(torch.tensor([data.config["t"][1]]), unet.config.model_channels)
    close(unet.time_embed(sinusoids), data["out/time_embed"])


@torch.no_grad()
@pytest.mark.parametrize("name", ["classifier_adaptive", "classifier_guidance"])
def test_classifier_agrees(name: str, golden: Callable[[str], Any]) -> None:
    data = golden(f"adm/{name}")
    classifier = Classifier(ClassifierConfig(**data.config["classifier"])).eval()
    state = data.under("w/classifier") or data.under("w")
    classifier.load_state_dict(state, strict=True)
    x = data["in/x"] if "in/x" in data else data["in/xt"]
    logits = data.under("out/logits")
    assert len(logits) > 1
    for t, expected in logits.items():
        close(classifier(x, torch.full(x.shape[:1], int(t.removeprefix("t")))), expected)
    config = infer_classifier_config(state, num_head_channels=16)
    assert config.channel_mult == classifier.config.channel_mult
    assert config.pool == classifier.config.pool


def test_architecture_is_inferred(case: tuple[Any, UNet]) -> None:
    data, unet = case
    net = data.config["net"]
    unseen = {name: net[name] for name in HEADS if name in net}
    assert infer_config(data.under("w"), **unseen) == unet.config
