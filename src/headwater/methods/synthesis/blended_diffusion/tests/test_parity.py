"""Blended Diffusion against arrays of its reference code: guide, blending and samplers, on its own draws.

There CLIP is a small function of the pixels, LPIPS a mean squared difference, and every view but the first is
mirrored. Its `mse` is a mean over the batch, so of B pictures it weighs 1 / B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import Golden, Precise
from closed_form import F64, Tape, prior_of
from headwater.core import Ancestral, Denoiser, Diffusion, respaced, schedule
from headwater.core.loop import Step
from headwater.core.transition import NoiseSource
from headwater.methods.synthesis.blended_diffusion import method as room
from headwater.methods.synthesis.blended_diffusion.method import BlendedDiffusion, Guide, apart
from headwater.sampling import Run

RUNS = ["ddpm", "ddim", "local_guided"]


class Mirrored:
    """The arrays' views: pooled, all but the first mirrored, normalised as for CLIP by the encoder."""

    def __init__(self, channels: int, side: int, count: int = 1, noise: Any = None) -> None:
        self.side, self.count = side, count

    def draws(self, x: Tensor) -> Tensor:
        return x.new_empty(len(x), 0)

    def __call__(self, picture: Tensor, draws: Tensor) -> Tensor:
        first = F.adaptive_avg_pool2d(picture, self.side)
        return torch.cat([first, *[first.flip(-1)] * (self.count - 1)])


class Encoder:
    """tanh of a linear map of the normalised pixels."""

    channels = 3

    def __init__(self, data: Precise) -> None:
        self.map, self.said, self.side = data["in/encoder"], data["in/text_embed"], data.config["clip_size"]

    def image(self, images: Tensor) -> Tensor:
        mean = images.new_tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
        std = images.new_tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
        return F.normalize((((images + 1) / 2 - mean) / std).flatten(1).matmul(self.map).tanh())

    def text(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(self.said).expand(len(texts), -1)

    def knows(self, text: str) -> bool:
        return True


@pytest.fixture(params=[torch.float32, F64])
def data(request: pytest.FixtureRequest, golden: Callable[[str], Golden]) -> Precise:
    return Precise(golden("blended-diffusion/blending"), request.param)


def denoiser(data: Precise) -> Denoiser:
    """The respaced chain as a table of its own, told the original timesteps."""
    q, c = Diffusion.vp(schedule.betas("linear", 1000)), data.config
    keep = torch.tensor(respaced(1000, c["respacing"])[::-1])
    head = {"in_channels": 3, "out_channels": 6, "model_channels": 32, "channel_mult": tuple(c["mult"])}
    head |= {"num_res_blocks": 1, "attention_resolutions": (1 if len(c["mult"]) == 1 else 2,)}
    head |= {"num_head_channels": 16, "use_scale_shift_norm": True, "resblock_updown": True}
    data.golden.config["net"] = head
    own = Diffusion(q.alpha[keep], q.sigma[keep], q.label[keep])
    return Denoiser(data.golden.unet().to(data.dtype), own, variance="learned_range")


def precise_embedding(timesteps: Tensor, dim: int) -> Tensor:
    """The sinusoids in double precision, as the arrays have them there."""
    rates = (-math.log(10_000) * torch.arange(dim // 2, dtype=F64) / (dim // 2)).exp()
    angles = timesteps.double()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def test_distances(data: Precise) -> None:
    one, other = F.normalize(data["in/e1"]), F.normalize(data["in/e2"])
    data.close(apart(one, other, "spherical"), "d_clip_loss")
    data.close(apart(one, other, "cosine"), "d_clip_loss_cosine")


def test_views(data: Precise) -> None:
    views = Mirrored(3, data.config["clip_size"], data.config["aug_num"])
    found = [views(one[None], one) for one in data["in/x"]]
    data.close(torch.stack(found, 1).flatten(0, 1), "augmented")


@pytest.mark.parametrize("name", RUNS)
def test_whole_runs(
    data: Precise, name: str, replayed: Callable[[NoiseSource], list[Step]], monkeypatch: pytest.MonkeyPatch
) -> None:
    c, run, n = data.config, data.config["runs"][name], data.config["batch"]
    monkeypatch.setattr(room, "Views", Mirrored)
    if data.dtype == F64:
        monkeypatch.setattr("headwater.nets.adm.timestep_embedding", precise_embedding)
    guided, gradient = list[Tensor](), Guide.gradient

    def kept(self: Guide, pred: Any) -> Tensor:
        guided.append(-gradient(self, pred))
        return -guided[-1]

    monkeypatch.setattr(Guide, "gradient", kept)
    before = 0
    for earlier in RUNS[: RUNS.index(name)]:
        r = c["runs"][earlier]
        before += 1 + (c["steps"] - r["skip"]) * (1 + r["blend"])
    tape = list(data.golden.under("noise").values())[before:]
    if run["ddim"]:  # drawn there in every step, and multiplied by 0
        tape = [tape[0], *tape[2::2]]
    steps = replayed(Tape(tape))
    method = BlendedDiffusion(
        scale=run["clip"], range_scale=run["range"], augmentations=c["aug_num"], distance="spherical",
        steps=c["steps"], skip=run["skip"], sampler="ddim" if run["ddim"] else "ancestral", candidates=1,
    )  # fmt: skip
    prior = prior_of(denoiser(data))
    prior.shape, prior.sampler = (3, 8, 8), Ancestral("learned")  # pyright: ignore
    image = data["in/init_image"].expand(n, -1, -1, -1)
    known = data["in/mask"] == 0
    hold = run["lpips"] + run["l2"] / n if run["background"] else None
    how = Run(progress=False, device="cpu")
    drawn = method.draw(prior, image, known, ["text"] * n, Encoder(data), how, hold)
    tolerance = 1e-4 if data.dtype == torch.float32 else 1e-8
    whole = data.stored(f"{name}_pred_xstart")
    for k, step in enumerate(steps):
        assert step.pred is not None
        data.close(step.pred.x0, whole[k], tolerance)
        if k < len(guided):
            data.close(guided[k], data.stored(f"{name}_gradients")[k], tolerance)
        if step.s:  # the last step there is moved once more, and not looked at
            data.close(step.x, data.stored(f"{name}_x")[k], tolerance)
    final = (image.where(known, drawn) + 1) / 2
    data.close(final, data.stored(f"{name}_final"), tolerance)
