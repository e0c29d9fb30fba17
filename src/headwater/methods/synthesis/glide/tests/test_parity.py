"""GLIDE's networks, respacing and guided sampling against openai/glide-text2im, number by number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from headwater.controls import Clip
from headwater.core import DDIM, Ancestral, ClassifierFree, Denoiser, Diffusion, respaced, reverse
from headwater.core.schedule import cosine
from headwater.nets.text2im import InpaintText2Im, SuperResText2Im, Text2Im, Text2ImConfig
from headwater.nets.text_encoder import TextConfig

STEPS = 1e-4  # the README's tolerance for trajectories


def config(about: dict[str, Any], channels: int) -> Text2ImConfig:
    sizes = (about[name] for name in ("vocab", "ctx", "xf_width", "xf_layers", "xf_heads", "final_ln"))
    net = about["net"]
    return Text2ImConfig(
        in_channels=channels, model_channels=32, out_channels=6, num_res_blocks=1, resblock_updown=True,
        attention_resolutions=tuple(net["attn_ds"]), channel_mult=tuple(net["mult"]),
        num_heads=net["heads"], use_scale_shift_norm=True, text=TextConfig(*sizes),
    )  # fmt: skip


@pytest.fixture
def base(golden: Callable[[str], Any]) -> tuple[Any, Text2Im]:
    data = golden("glide/text2im")
    net = Text2Im(config(data.config, 3)).eval()
    net.load_state_dict(data.under("w"), strict=True)
    return data, net


def close(actual: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    error = (actual - expected).abs().max() / expected.abs().max()
    assert float(error) < relative


@torch.no_grad()
def test_text_tower_and_text_to_image(base: tuple[Any, Text2Im]) -> None:
    data, net = base
    summary, context = net.encode(data["in/tokens"], data["in/mask"])
    close(summary, data["out/xf_proj"])
    close(context.mT, data["out/xf_out"])
    close(net(data["in/x"], data["in/t"], summary, context), data["out/out"])


@torch.no_grad()
def test_inpainting(golden: Callable[[str], Any]) -> None:
    data = golden("glide/inpaint")
    net = InpaintText2Im(config(data.config, 7)).eval()
    net.load_state_dict(data.under("w"), strict=True)
    text = net.encode(data["in/tokens"], data["in/mask"])
    out = net(data["in/x"], data["in/t"], *text, data["in/inpaint_image"], data["in/inpaint_mask"])
    close(out, data["out/out"])


@torch.no_grad()
def test_upsampling_reads_the_enlarged_picture(base: tuple[Any, Text2Im]) -> None:
    """No reference array exists: the network must be the base one on six channels."""
    data, _ = base
    torch.manual_seed(0)
    net = SuperResText2Im(config(data.config, 6)).eval()
    for parameter in net.parameters():
        parameter.normal_(0, 0.1)
    text = net.encode(data["in/tokens"], data["in/mask"])
    low = torch.rand(2, 3, 4, 4)
    large = torch.nn.functional.interpolate(low, (16, 16), mode="bilinear", align_corners=False)
    six = torch.cat([data["in/x"], large], 1)
    close(net(data["in/x"], data["in/t"], *text, low), Text2Im.forward(net, six, data["in/t"], *text))


def test_respacing(golden: Callable[[str], Any]) -> None:
    data = golden("glide/respacing")
    for spec, T in data.config["specs"]:
        name = f"out/timesteps_{spec.replace(',', '_')}_{T}"
        steps = data[name].tolist()
        assert respaced(T, spec) == [t + 1 for t in reversed(steps)] + [0], spec


class Tape:
    """The draws of the reference, in order; the row that the conditional half was given."""

    def __init__(self, draws: Iterator[Tensor]) -> None:
        self.draws = draws

    def __call__(self, like: Tensor, level: int | Tensor = 0) -> Tensor:
        return next(self.draws)[:1]


@pytest.mark.parametrize("kind", ["ddpm", "ddim"])
@torch.no_grad()
def test_guided_sampling(kind: str, base: tuple[Any, Text2Im]) -> None:
    data, net = base
    q = Diffusion.vp(cosine(1000))
    plan = respaced(1000, data.config["respacing"])
    assert plan == [t + 1 for t in reversed(data["out/timestep_map"].tolist())] + [0]
    summary, context = net.encode(data["in/tokens"], data["in/mask"])
    null = {"summary": summary[1:], "context": context[1:]}
    denoiser = ClassifierFree(Denoiser(net, q, "eps", "learned_range"), data.config["scale"], null)
    draws = list(data.under("noise").values())
    half = len(draws) // 2
    tape = Tape(iter(draws[:half] if kind == "ddpm" else draws[half:]))
    x = tape(data["in/x"])
    sampler = Ancestral("learned") if kind == "ddpm" else DDIM()
    cond = {"summary": summary[:1], "context": context[:1]}
    steps = [s.x for s in reverse(denoiser, x, plan, sampler, [Clip()], tape, **cond)]
    close(torch.cat(steps), data[f"out/cfg_{kind}"][:, 0], STEPS)
