"""Iterating a denoiser on its own answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater.core import Prediction, Sampler
from headwater.core.sampler import State
from headwater.core.transition import Gaussian, Transition


@dataclass(frozen=True)
class FixedPoint(Sampler):
    """x <- x_0's estimate, whatever the level: CLIP-Diffusion-LM's passes (Xu 2022).

    No posterior and no noise. It suits networks that are not told the level, and only them.
    """

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        return Gaussian(pred.x0, 0.0), None
