"""Controls that keep the estimate of the clean data within a range."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from headwater.core.control import Control
from headwater.core.prediction import Prediction


@dataclass(frozen=True)
class Clip(Control):
    """Keep the estimate of the clean data within [low, high], each part of a complex one; the noise estimate
    follows.

    >>> steps = hw.reverse(prior.denoiser, torch.zeros(1, 1, 32, 32), [100, 0], controls=[hw.Clip()])
    >>> hw.last(steps).abs().max().item() <= 1
    True
    """

    low: float = -1.0
    high: float = 1.0

    def denoised(self, pred: Prediction) -> Prediction:
        x0 = pred.x0
        if x0.is_complex():
            parts = torch.view_as_real(x0).clamp(self.low, self.high)
            return pred.with_x0(torch.view_as_complex(parts))
        return pred.with_x0(x0.clamp(self.low, self.high))


@dataclass(frozen=True)
class DynamicThreshold(Control):
    """Clip x0 to its own quantile when that exceeds 1, then rescale (Saharia et al. 2022, sec. 2.3)."""

    quantile: float = 0.995

    def denoised(self, pred: Prediction) -> Prediction:
        flat = pred.x0.flatten(1)
        bound = flat.abs().quantile(self.quantile, dim=1).clamp(min=1)
        bound = bound.reshape(-1, *[1] * (pred.x0.ndim - 1))
        return pred.with_x0(pred.x0.clamp(-bound, bound) / bound)
