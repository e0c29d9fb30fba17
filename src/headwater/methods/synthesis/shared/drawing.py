"""The guided walk from noise to pictures that GLIDE and its inpainting share, and what its settings mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwater.controls import Clip
from headwater.core import DDIM, Ancestral, Control, DPMSolver, Sampler, last, respaced, reverse
from headwater.core.prediction import Variance
from headwater.errors import UserError
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide
from headwater.noise import Stream
from headwater.sampling import Run

Beside = Callable[[slice, Stream], tuple[Sequence[Control], dict[str, Tensor]]]
"""Rows of the batch and their noise -> what else acts on the walk, and what else the network is told."""


def nothing(rows: slice, noise: Stream) -> tuple[Sequence[Control], dict[str, Tensor]]:
    """A walk that the caption alone steers."""
    return (), {}


@dataclass(frozen=True)
class Drawing:
    """Settings of the walk: the fields of the same names of `Glide`."""

    scale: float
    steps: str
    sampler: Literal["ancestral", "ddim", "dpm-solver"]

    def draw(self, fitted: FittedGlide, text: Sequence[str], run: Run, beside: Beside = nothing) -> Tensor:
        """One picture for each caption, (B, C, H, W) in [-1, 1]; it depends on run.seed, its place and it.

        Controls of `beside` act before the estimate is clipped. Raises UserError for `steps` that do not fit.
        """
        plan, sampler = self.plan(fitted.T), self.stepping(fitted.variance)
        guided, told = fitted.guided(self.scale), fitted.encode(text)
        drawn = []
        for rows, part in run.chunks(len(text)):
            like = torch.empty(len(text[rows]), *fitted.shape, device=run.device)
            noise = part.stream(len(like))
            controls, further = beside(rows, noise)
            cond = {**{key: value[rows] for key, value in told.items()}, **further}
            with torch.inference_mode():
                x = fitted.process.start(like, noise)
                walk = reverse(guided, x, plan, sampler, [*controls, Clip()], noise, False, **cond)
                drawn.append(last(run.watch(walk, len(plan) - 1, f"pictures {rows.start + 1}-{rows.stop}")))
        return torch.cat(drawn)

    def plan(self, T: int) -> list[int]:
        """The levels visited of T."""
        wrong = UserError(
            f"steps is {self.steps!r}: give a number up to {T}, counts per section that fit into {T} levels, "
            'as "10,10,3,2,2", or "ddim50" or "fast27"'
        )
        if not re.fullmatch(r"fast27|(ddim)?[1-9]\d*|[1-9]\d*(,[1-9]\d*)+", self.steps):
            raise wrong
        try:
            return respaced(T, self.steps)
        except ValueError:
            raise wrong from None

    def stepping(self, variance: Variance) -> Sampler:
        """The sampler for a network that learned its variance, or did not."""
        match self.sampler:
            case "ancestral":
                return Ancestral("small" if variance == "fixed" else "learned")
            case "ddim":
                return DDIM()
            case "dpm-solver":
                return DPMSolver()
