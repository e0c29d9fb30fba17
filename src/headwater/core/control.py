"""Controls: the four places where methods reach into a step.

Override what you need. `before` and `after` change x between steps, so multistep samplers refuse them.
"""

from __future__ import annotations

from torch import Tensor

from headwater.core.prediction import Prediction
from headwater.core.transition import Transition


class Control:
    """A constraint or a guide. Every method returns its first argument unless overridden.

    >>> Control().edits_x
    False
    """

    needs_grad: bool = False
    """True if `denoised` or `transition` differentiates through the network with respect to pred.x."""

    @property
    def edits_x(self) -> bool:
        """Whether x is changed between steps, as it is where `before` or `after` is overridden."""
        kind = type(self)
        return kind.before is not Control.before or kind.after is not Control.after

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
