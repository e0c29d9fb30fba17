"""Projected gradient ascent, with steps of one size and with steps that it chooses itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from headwater.attacks.gradient import Loss, Objective, View, logits_of
from headwater.attacks.threat import Threat, per_row
from headwater.errors import need
from headwater.modes import in_evaluation
from headwater.noise import Purpose, derive

_MOMENTUM = 0.75
"""Weight of the new step of APGD (alpha of Alg. 1)."""
_RISES = 0.75
"""Least share of steps that must raise the loss (rho)."""


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
    """Whether it knows the evaluation's own noise: a diagnosis, not an attack on a random defence."""
    part: int = 0
    """Draws of a gradient computed at once, for less memory; 0 is all of them."""

    @in_evaluation
    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """Candidates (B, C, H, W): the last point, and the one with the largest loss that was measured."""
        need(self.steps >= 1 and self.draws >= 1, "steps and draws are 1 or more")
        logits = logits_of(model, self.view)
        objective = Objective(logits, labels, seeds, self.loss, self.draws, self.fixed, self.part)
        size = 2.5 * threat.eps / self.steps if self.size is None else self.size
        small = threat.norm != "linf" or self.size is None or size < 1
        need(small, f"the step size is {size:g} for pictures in [0, 1]: give {size:g} / 255 for grey levels")
        x = threat.start(images, [derive(seed, Purpose.PGD) for seed in seeds])
        best, highest = x, None
        for step in range(self.steps):
            loss, gradient = objective(x, step)
            better = loss > highest if highest is not None else loss == loss
            best = x.where(per_row(better, x), best)
            highest = loss if highest is None else loss.maximum(highest)
            x = threat.project(x + size * threat.ascend(gradient), images)
        return [x, best]


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step size is reconsidered (Croce & Hein 2020, sec. 3.1)."""
    share = [0.0, 0.22]
    while share[-1] < 1:
        share.append(share[-1] + max(share[-1] - share[-2] - 0.03, 0.06))
    # Rounded first: 0.57 of 100 is 57, not the 58 that follows 57.000000000000007.
    return [math.ceil(round(p * steps, 9)) for p in share if p <= 1]


@dataclass(frozen=True)
class APGD:
    """Croce & Hein 2020, Alg. 1: momentum, steps from 2 eps, halved per picture where they stop helping.

        z       = project(x_k + size ascend(gradient))
        x_k+1   = project(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_k-1))

    At a checkpoint, a picture's size is halved and its best point taken up again if fewer than 75 % of the
    steps since the last one raised the loss, or if neither size nor best loss changed since then. For a
    random model the loss is a mean over `draws`, so the two tests are noisy.
    """

    steps: int = 100
    draws: int = 1
    """Draws of the model's randomness per gradient."""
    view: View = "exact"
    loss: Loss = "ce"
    targets: int = 0
    """Wrong classes that are aimed at in turn, the likeliest first, each by all the steps; 0 aims at none."""
    part: int = 0
    """Draws of a gradient computed at once, for less memory; 0 is all of them."""

    @in_evaluation
    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """Candidates (B, C, H, W): the last point, and the one with the largest loss; both for each class
        that is aimed at. Needs steps + 1 gradients for each."""
        need(self.steps >= 1 and self.draws >= 1, "steps and draws are 1 or more")
        logits = logits_of(model, self.view)
        objective = Objective(logits, labels, seeds, self.loss, self.draws, part=self.part)
        if self.targets == 0:
            return self._ascend(objective, threat, images, seeds)
        with torch.no_grad():
            likely = logits(images, [derive(seed, Purpose.APGD, 0) for seed in seeds])
        others = likely.scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
        need(
            1 <= self.targets < likely.shape[1],
            f"targets is {self.targets}: give 0 to {likely.shape[1] - 1}, the number of wrong classes",
        )
        found = list[Tensor]()
        for k in range(self.targets):
            own = seeds if k == 0 else [derive(seed, k) for seed in seeds]
            found += self._ascend(replace(objective, seeds=own, aims=others[:, k]), threat, images, own)
        return found

    def _ascend(
        self, objective: Objective, threat: Threat, images: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """The last point and the best."""
        x = threat.start(images, [derive(seed, Purpose.APGD) for seed in seeds])
        loss, gradient = objective(x, 0)
        before, best, best_gradient, highest = x, x, gradient, loss
        size = torch.full_like(loss, 2 * threat.eps)
        rises, since = torch.zeros_like(loss), 0
        halved, highest_then = torch.zeros_like(loss, dtype=torch.bool), highest
        turns = set(checkpoints(self.steps)[1:])
        for k in range(1, self.steps + 1):
            ahead = threat.project(x + per_row(size, x) * threat.ascend(gradient), images)
            if k > 1:
                ahead = threat.project(x + _MOMENTUM * (ahead - x) + (1 - _MOMENTUM) * (x - before), images)
            before, x, old = x, ahead, loss
            loss, gradient = objective(x, k)
            rises += loss > old
            better = per_row(loss > highest, x)
            best, best_gradient = x.where(better, best), gradient.where(better, best_gradient)
            highest = loss.maximum(highest)
            since += 1
            if k in turns:
                stuck = ~halved & (highest <= highest_then)
                halved = (rises < _RISES * since) | stuck
                size = torch.where(halved, size / 2, size)
                again = per_row(halved, x)
                x, before = best.where(again, x), best.where(again, before)
                gradient = best_gradient.where(again, gradient)
                loss = highest.where(halved, loss)
                rises, since, highest_then = torch.zeros_like(loss), 0, highest
        return [x, best]
