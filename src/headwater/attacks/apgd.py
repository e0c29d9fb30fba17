"""Auto-PGD: projected gradient ascent that chooses its own step size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.attacks.gradient import Loss, Objective, View, seen
from headwater.attacks.threat import Threat
from headwater.errors import need
from headwater.noise import derive

_START = 0x41504744
_MOMENTUM = 0.75
"""Weight of the new step (alpha of Alg. 1)."""
_RISES = 0.75
"""Least share of steps that must raise the loss (rho)."""


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

    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """Candidates (B, C, H, W): the point with the largest loss. Needs steps + 1 gradients."""
        need(self.steps >= 1 and self.draws >= 1, "steps and draws are 1 or more")
        objective = Objective(seen(model, self.view), labels, seeds, self.loss, self.draws)

        def rows(values: Tensor) -> Tensor:
            return values.reshape(-1, *[1] * (images.ndim - 1))

        x = threat.start(images, [derive(seed, _START) for seed in seeds])
        loss, gradient = objective(x, 0)
        before, best, best_gradient, highest = x, x, gradient, loss
        size = torch.full_like(loss, 2 * threat.eps)
        rises, since = torch.zeros_like(loss), 0
        halved, highest_then = torch.zeros_like(loss, dtype=torch.bool), highest
        turns = set(checkpoints(self.steps)[1:])
        for k in range(1, self.steps + 1):
            ahead = threat.project(x + rows(size) * threat.ascend(gradient), images)
            if k > 1:
                ahead = threat.project(x + _MOMENTUM * (ahead - x) + (1 - _MOMENTUM) * (x - before), images)
            before, x, old = x, ahead, loss
            loss, gradient = objective(x, k)
            rises += loss > old
            better = rows(loss > highest)
            best, best_gradient = x.where(better, best), gradient.where(better, best_gradient)
            highest = loss.maximum(highest)
            since += 1
            if k in turns:
                stuck = ~halved & (highest <= highest_then)
                halved = (rises < _RISES * since) | stuck
                size = torch.where(halved, size / 2, size)
                x, before = best.where(rows(halved), x), best.where(rows(halved), before)
                gradient = best_gradient.where(rows(halved), gradient)
                loss = highest.where(halved, loss)
                rises, since, highest_then = torch.zeros_like(loss), 0, highest
        return [best]
