"""Rounding of estimates to the vectors that stand for tokens."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.codecs import Embedding
from headwater.core.control import Control
from headwater.core.prediction import Prediction


@dataclass(frozen=True, eq=False)
class Nearest(Control):
    """Round the estimate of x_0 to the nearest table row before it is used: Diffusion-LM's clamping trick.

    Only at levels low .. high (None: the highest).
    """

    codec: Embedding
    low: int = 1
    high: int | None = None

    def denoised(self, pred: Prediction) -> Prediction:
        if not isinstance(pred.t, int):
            raise TypeError("a walk has one level at a time")
        if pred.t < self.low or (self.high is not None and pred.t > self.high):
            return pred
        return pred.with_x0(self.codec.encode(self.codec.nearest(pred.x0)))
