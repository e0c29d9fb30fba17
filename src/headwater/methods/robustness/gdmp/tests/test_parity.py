"""GDMP against arrays of its reference code, CIFAR path: the guide's gradients, and whole rounds.

The code noises to the timestep above the one that it denoises from, draws noise in the last step too and
multiplies it by 0, and takes means over the batch: the tape and the weights here say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import Golden, Precise
from closed_form import F64, Tape, prior_of
from headwater.controls import Clip
from headwater.core import Denoiser, Diffusion, schedule
from headwater.core.loop import Step
from headwater.core.transition import Level, NoiseSource
from headwater.methods.robustness.gdmp.method import GDMP, Guide
from headwater.models.unet2d import plain_class
from headwater.sampling import Run

Q = Diffusion.vp(schedule.betas("linear", 1000))
NAMES = {
    "temb.dense.0": "time_embedding.linear_1", "temb.dense.1": "time_embedding.linear_2",
    "mid.block_1": "mid_block.resnets.0", "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1": "mid_block.attentions.0", "norm_out": "conv_norm_out",
    ".downsample.": ".downsamplers.0.", ".upsample.": ".upsamplers.0.", ".block.": ".resnets.",
    ".attn.": ".attentions.", "down.": "down_blocks.", "up.1": "up_blocks.0", "up.0": "up_blocks.1",
    "temb_proj": "time_emb_proj", "nin_shortcut": "conv_shortcut", ".q.": ".to_q.", ".k.": ".to_k.",
    ".v.": ".to_v.", ".proj_out.": ".to_out.0.",
}  # fmt: skip
"""Of the port's network and of diffusers' UNet2DModel, which is the same."""


@pytest.fixture(params=[torch.float32, F64])
def data(request: pytest.FixtureRequest, golden: Callable[[str], Golden]) -> Precise:
    return Precise(golden("gdmp/cifar_style"), request.param)


def network(data: Precise) -> Any:
    c = data.config["model"]
    net = plain_class()(
        sample_size=c["resolution"], freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, norm_eps=1e-6,
        block_out_channels=[c["ch"] * m for m in c["ch_mult"]], layers_per_block=c["num_res_blocks"],
        down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"],
        attention_head_dim=None,
    )  # fmt: skip
    weights: dict[str, Tensor] = {}
    for name, value in data.golden.under("w").items():
        attends = ".attn" in name
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        name = name.replace(".norm.", ".group_norm.") if attends else name
        weights[name] = value[..., 0, 0] if attends and value.ndim == 4 else value
    net.load_state_dict(weights, strict=True)
    return net.to(data.dtype).eval()


def denoiser(data: Precise) -> Denoiser:
    return Denoiser(network(data), Q)


@torch.no_grad()
def test_the_network(data: Precise) -> None:
    data.close(network(data)(data["in/xt"], data["in/t"]), "eps")


@pytest.mark.parametrize("distance", ["mse", "ssim"])
def test_the_gradient_of_each_distance(data: Precise, distance: Any) -> None:
    x, xt = 2 * data["in/x"] - 1, data["in/xt"]
    for k, i in enumerate(data.config["ts"]):
        noise = data.golden.under("noise")[f"{k:03d}"]
        data.close(Q.sample(x, i + 1, Tape([noise])), f"y_t{i}")
        found = Guide(Q, x, Tape([noise]), 1.0, distance).pull(xt, i + 1) / x.numel()
        data.close(found, f"grad_{distance}_t{i}", 1e-7 if data.dtype == torch.float32 else 1e-15)


class OfTheCode:
    """The code's draws of some rounds in the order in which ours asks for them."""

    def __init__(self, drawn: Iterator[Tensor], level: int, guided: bool) -> None:
        self.drawn, self.level, self.guided = drawn, level, guided
        self.asked = 0

    def __call__(self, like: Tensor, t: Level = 0) -> Tensor:
        """The noise to the timestep above becomes such noise that x, noised, is the code's."""
        a_round = 2 * self.level if self.guided else self.level
        place, self.asked = self.asked % a_round, self.asked + 1
        z = next(self.drawn).to(like)
        if place == a_round - 1:  # what the code draws in its last step
            next(self.drawn)
        if place:
            return z
        (a, b), (above, noisier) = Q.scales(self.level), Q.scales(self.level + 1)
        return ((above - a) * like + noisier * z) / b


@pytest.mark.parametrize("case", [0, 1, 2])
def test_whole_rounds(data: Precise, case: int, replayed: Callable[[NoiseSource], list[Step]]) -> None:
    c, x = data.config, 2 * data["in/x"] - 1
    mode, scale = [*c["modes"], ("unguided", 0.0)][case]
    rounds, level = (c["rounds"] if scale else 1), c["purify_step"]
    before = len(c["ts"]) + case * c["rounds"] * (1 + 2 * level)
    drawn = iter(list(data.golden.under("noise").values())[before:])
    steps = replayed(OfTheCode(drawn, level, bool(scale)))
    method = GDMP(level, level, rounds, "ssim" if mode == "SSIM" else "mse", scale / x.numel(), c["ptb"])
    prior = prior_of(denoiser(data), controls=[Clip()])
    purified = method.apply(prior, x, **Run(progress=False, device="cpu"))
    ends = [step.x.clamp(-1, 1) for step in steps if step.s == 0]
    tolerance = 1e-5 if data.dtype == torch.float32 else 1e-11
    for end, wanted in zip(ends, data.stored(f"purified_{mode}"), strict=True):
        data.close((end + 1) / 2, wanted, tolerance)
    assert torch.equal(ends[-1], purified)
