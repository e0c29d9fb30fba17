"""Controls: the four places where methods reach into a step.

Override what you need. `before` and `after` change x between steps, so multistep samplers refuse them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from headwater.core.denoiser import Prediction
from headwater.core.transition import Transition


class Control:
    """A constraint or a guide. Every method returns its first argument unless overridden."""

    needs_grad: bool = False
    """True if `denoised` or `transition` differentiates through the network with respect to pred.x."""

    def before(self, x: Tensor, t: int) -> Tensor:
        """Edit x_t (B, ...) before the network sees it."""
        return x

    def denoised(self, pred: Prediction) -> Prediction:
        """Edit the prediction, usually `pred.with_x0(...)`."""
        return pred

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        """Edit the distribution over x_s, usually `dist.shift(...)`."""
        return dist

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        """Edit x_s (B, ...) once drawn; `step` counts the steps of the walk from 0."""
        return x


def edits_x(control: Control) -> bool:
    """Whether a control changes x between steps."""
    kind = type(control)
    return kind.before is not Control.before or kind.after is not Control.after


@dataclass(frozen=True)
class Clip(Control):
    """Keep the estimate of the clean data within [low, high]; the noise estimate follows."""

    low: float = -1.0
    high: float = 1.0

    def denoised(self, pred: Prediction) -> Prediction:
        return pred.with_x0(pred.x0.clamp(self.low, self.high))


@dataclass(frozen=True)
class DynamicThreshold(Control):
    """Clip x0 to its own quantile when that exceeds 1, then rescale (Saharia et al. 2022, sec. 2.3)."""

    quantile: float = 0.995

    def denoised(self, pred: Prediction) -> Prediction:
        flat = pred.x0.flatten(1)
        bound = flat.abs().quantile(self.quantile, dim=1).clamp(min=1)
        bound = bound.reshape(-1, *[1] * (pred.x0.ndim - 1))
        return pred.with_x0(pred.x0.clamp(-bound, bound) / bound)
