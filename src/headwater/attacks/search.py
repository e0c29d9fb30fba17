"""Attacks that need no gradient, or begin several times, and all that a figure to publish should face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.attacks.ascent import APGD, PGD
from headwater.attacks.gradient import Seeded, logits_of
from headwater.attacks.suite import Attack, usual_attacks
from headwater.attacks.threat import Threat, per_row
from headwater.errors import need
from headwater.modes import in_evaluation
from headwater.noise import Purpose, White, derive


@dataclass(frozen=True)
class Restarts:
    """An attack from several random starts: all their candidates count."""

    attack: Attack
    times: int = 5

    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """Candidates (B, C, H, W) of every start."""
        need(self.times >= 1, f"times is {self.times}: start once or more")
        found = list[Tensor]()
        for k in range(self.times):
            own = seeds if k == 0 else [derive(seed, Purpose.RESTART, k) for seed in seeds]
            found += self.attack.perturb(model, threat, images, labels, own)
        return found


@dataclass(frozen=True)
class Square:
    """Random search by squares (Andriushchenko et al. 2020, Alg. 1 and 2): no gradient is asked for, so a
    model that this breaks more than gradients do hides its own.

    The start has vertical stripes of -eps and eps. A query sets a square, at a random place and of one random
    sign a channel, and keeps it where that makes the margin of the true class smaller. The square's share of
    the picture is halved after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the queries. For a random model the
    margin is a mean over `draws`, both of the picture held and of the new one.
    """

    queries: int = 500
    draws: int = 1
    """Draws of the model's randomness per margin."""
    share: float = 0.8
    """Of the picture that the first square covers."""

    @in_evaluation
    @torch.no_grad()
    def perturb(
        self, model: nn.Module, threat: Threat, images: Tensor, labels: Tensor, seeds: Sequence[int]
    ) -> list[Tensor]:
        """The candidate (B, C, H, W) of the smallest margin. UserError for the Euclidean norm."""
        need(threat.norm == "linf", "Square searches the ball of the largest norm: leave it out for l2")
        need(self.queries >= 1 and self.draws >= 1, "queries and draws are 1 or more")
        need(0 < self.share <= 1, f"share is {self.share}: give a share of the picture, above 0 up to 1")
        logits, noise = logits_of(model), White().stream([derive(seed, Purpose.SQUARE) for seed in seeds])
        _, channels, height, width = images.shape

        def margin(x: Tensor, step: int) -> Tensor:
            own = [derive(seed, Purpose.SQUARE, step, j) for seed in seeds for j in range(self.draws)]
            found = logits(x.repeat_interleave(self.draws, 0), own)
            truth = labels.repeat_interleave(self.draws)
            rival = found.scatter(1, truth[:, None], -torch.inf).amax(1)
            gap = found.gather(1, truth[:, None])[:, 0] - rival
            return gap.reshape(-1, self.draws).mean(1)

        def signs(*shape: int) -> Tensor:
            return noise.uniform(images.new_empty(len(images), *shape)).to(images).mul(2).sub(1).sign()

        rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
        best = threat.project(images + threat.eps * signs(channels, 1, width), images)
        random, least = isinstance(model, Seeded), margin(best, 0)
        for step in range(self.queries):
            halvings = sum(step >= mark * self.queries for mark in _MARKS)
            side = round((self.share / 2**halvings * height * width) ** 0.5)
            side = min(max(side, 1), height, width)
            place = noise.uniform(images.new_empty(len(images), 2)).to(images)
            top = (place[:, 0] * (height - side + 1)).long()[:, None]
            left = (place[:, 1] * (width - side + 1)).long()[:, None]
            inside = ((rows >= top) & (rows < top + side))[:, None, :, None]
            inside = inside & ((columns >= left) & (columns < left + side))[:, None, None, :]
            delta = (best - images).where(~inside, threat.eps * signs(channels, 1, 1))
            tried = threat.project(images + delta, images)
            least = margin(best, step) if random else least
            new = margin(tried, step)
            smaller, least = new < least, torch.minimum(new, least)
            best = tried.where(per_row(smaller, tried), best)
        return [best]


def strong_attacks(
    model: nn.Module, threat: Threat, steps: int = 100, draws: int = 16, part: int = 0
) -> dict[str, Attack]:
    """The usual attacks with more steps, and for a figure to publish: several starts, classes aimed at, and,
    in the largest norm, a search without gradients. About ten times the usual attacks of as many steps.

    Aiming compares four classes and more: a model of fewer needs attacks of one's own.
    """
    many = draws if isinstance(model, Seeded) else 1
    found = usual_attacks(model, steps, draws, part) | {
        "exact PGD, 5 starts": Restarts(PGD(steps, many, part=part), 5),
        "exact APGD, dlr, 3 targets": APGD(steps, many, loss="dlr", targets=3, part=part),
    }
    return found | ({"Square": Square(5 * steps, many)} if threat.norm == "linf" else {})


_MARKS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the queries after which a square covers half as much."""
