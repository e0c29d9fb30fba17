"""Projected gradient ascent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from headwater.attacks.gradient import Loss, Objective, View, seen
from headwater.attacks.threat import Threat
from headwater.errors import need
from headwater.noise import derive

_START = 0x5354415254


@dataclass(frozen=True)
class PGD:
    """x <- project(x + size * ascend(gradient)) from a random point of the ball (Madry et al. 2018).

    With `draws` > 1 each gradient is a mean over the model's randomness (EOT); with view bpda, BPDA+EOT.
    """

    steps: int = 20
    draws: int = 1
    """Draws of the model's randomness per gradient."""
    view: View = "exact"
    size: float | None = None
    """Step size; None is 2.5 eps / steps, which can cross the ball."""
    loss: Loss = "ce"
    fixed: bool = False
    """See the model with the evaluation's own noise: a diagnosis, not an attack on a random defence."""

    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """Candidates (B, C, H, W): the last point, and the one with the largest loss that was measured."""
        need(self.steps >= 1 and self.draws >= 1, "steps and draws are 1 or more")
        objective = Objective(seen(model, self.view), labels, seeds, self.loss, self.draws, self.fixed)
        size = 2.5 * threat.eps / self.steps if self.size is None else self.size
        x = threat.start(images, [derive(seed, _START) for seed in seeds])
        best, highest = x, None
        for step in range(self.steps):
            loss, gradient = objective(x, step)
            better = loss > highest if highest is not None else loss == loss
            best = x.where(better.reshape(-1, *[1] * (x.ndim - 1)), best)
            highest = loss if highest is None else loss.maximum(highest)
            x = threat.project(x + size * threat.ascend(gradient), images)
        return [x, best]
