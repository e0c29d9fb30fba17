"""The guided loop from noise to pictures that GLIDE and its inpainting share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from headwater.controls import Clip
from headwater.core import Control
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide
from headwater.sampling import Batch, Run, SamplerName, Start, guided, sample, sampler_of, timesteps_of

Beside = Callable[[Batch], tuple[Sequence[Control], Mapping[str, Tensor]]]
"""A batch -> what else controls its loop, before the clip, and what else the network is told."""


class Draws(Protocol):
    """The fields of `Glide` that say how pictures are drawn."""

    @property
    def guidance_scale(self) -> float: ...
    @property
    def steps(self) -> str: ...
    @property
    def sampler(self) -> SamplerName: ...


def draw(
    method: Draws, fitted: FittedGlide, text: Sequence[str], run: Run, beside: Beside = lambda batch: ((), {})
) -> Tensor:
    """One picture for each caption, (B, C, H, W) in [-1, 1]; it depends on run.seed, its place and it.

    Raises UserError for `steps` that do not fit.
    """
    q, told = fitted.process, fitted.encode(text)

    def begin(batch: Batch) -> Start:
        controls, further = beside(batch)
        x = q.start(batch.empty(*fitted.shape), batch.noise)
        return Start(x, [*controls, Clip()], {**{k: batch.take(v) for k, v in told.items()}, **further})

    return sample(
        guided(fitted.denoiser, method.guidance_scale, fitted.encode([""])),
        timesteps_of(q, method.steps), len(text), begin, run,
        sampler=sampler_of(method.sampler, "small" if fitted.config.variance == "fixed" else "learned"),
        label="pictures",
    )  # fmt: skip
