"""How each arm of AnoDDPM's claim is run and scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from headwater.methods.anomaly.anoddpm.claim_cases import Cases
from headwater.methods.anomaly.anoddpm.method import AnoDDPM
from headwater.methods.anomaly.shared.anomalies import Anomalies
from headwater.metrics.detection import auroc, best_dice
from headwater.models import Prior


@dataclass(frozen=True, eq=False)
class Judged:
    """What an arm found in some cases, and how good that is."""

    cases: Cases
    found: Anomalies

    @cached_property
    def auroc(self) -> Tensor:
        """Pixel AUROC of each picture, (N,) float64; NaN for untouched ones."""
        return self._each(auroc)

    @cached_property
    def dice(self) -> Tensor:
        """Dice of each picture at its own best threshold, (N,) float64; NaN for untouched ones."""
        return self._each(lambda scores, truth: best_dice(scores, truth)[0])

    def _each(self, measure: Callable[[Tensor, Tensor], float]) -> Tensor:
        changed = set(self.cases.rows())
        values = [
            measure(self.found.map[i], self.cases.truth[i]) if i in changed else math.nan
            for i in range(len(self.cases.image))
        ]
        return torch.tensor(values, dtype=torch.float64)

    def mean(self, measure: str, *groups: str) -> float:
        """Mean of `auroc` or `dice` over the pictures of some groups, over all changed ones by default."""
        return float(getattr(self, measure)[self.cases.rows(*groups)].mean())

    @property
    def image_auroc(self) -> float:
        """How well the image score tells changed pictures from untouched ones."""
        return auroc(self.found.score, self.cases.truth.flatten(1).any(1))

    @property
    def healthy_error(self) -> float:
        """Mean of the map over untouched pictures; pictures in [-1, 1]."""
        return float(self.found.map[self.cases.rows("healthy")].mean())

    @property
    def threshold(self) -> float:
        """The one threshold that gives the highest Dice over the pixels of all changed pictures."""
        rows = self.cases.rows()
        return best_dice(self.found.map[rows], self.cases.truth[rows])[1]

    def dice_at(self, threshold: float) -> float:
        """Mean Dice of the changed pictures at one threshold for all."""
        rows = self.cases.rows()
        hit, truth = self.found.map[rows] >= threshold, self.cases.truth[rows]
        both = (hit & truth).flatten(1).sum(1)
        return float((2 * both / (hit.flatten(1).sum(1) + truth.flatten(1).sum(1)).clamp(min=1)).mean())


@dataclass(frozen=True, eq=False)
class Arm:
    """One prior: its sweep over levels on the scored pictures, and the levels chosen on others."""

    prior: Prior
    chosen: dict[str, int]
    """Level for each group, and for "all": the one of highest mean Dice on the choosing pictures."""
    choosing: dict[int, Judged]
    scored: dict[int, Judged]
    """Every level of the sweep on the scored pictures: shown, never chosen from."""
    averaged: Judged
    """Several reconstructions at the level for "all"."""

    def at(self, group: str) -> Judged:
        """The scored pictures at the level that was chosen for a group."""
        return self.scored[self.chosen[group]]

    @property
    def dice_at_chosen_threshold(self) -> float:
        """Dice of the scored pictures with level and threshold both chosen on the others."""
        level = self.chosen["all"]
        return self.scored[level].dice_at(self.choosing[level].threshold)


@dataclass(frozen=True)
class Sweep:
    """How an arm is run."""

    levels: tuple[int, ...]
    steps: int
    """Most steps of a walk back."""
    reconstructions: int
    """How many the averaged arm draws."""
    seeds: tuple[int, ...]
    progress: bool

    def examine(self, prior: Prior, scored: Sequence[Cases], choosing: Cases) -> Arm:
        """Run all levels on both; scored holds one entry per seed. Levels are chosen on `choosing` alone."""
        together = Cases.join(list(scored))
        chooser = {t: Judged(choosing, self._heal(prior, t, 1, [choosing], (-1,))) for t in self.levels}
        groups = list(dict.fromkeys(g for g in choosing.group if g != "healthy"))
        chosen = {g: self._best(chooser, g) for g in groups} | {"all": self._best(chooser, *groups)}
        scores = {t: Judged(together, self._heal(prior, t, 1, scored, self.seeds)) for t in self.levels}
        averaged = scores[chosen["all"]]
        if self.reconstructions > 1:
            times = self.reconstructions
            averaged = Judged(together, self._heal(prior, chosen["all"], times, scored, self.seeds))
        return Arm(prior, chosen, chooser, scores, averaged)

    def _best(self, chooser: dict[int, Judged], *groups: str) -> int:
        return max(self.levels, key=lambda t: chooser[t].mean("dice", *groups))

    def _heal(
        self, prior: Prior, level: int, times: int, cases: Sequence[Cases], seeds: Sequence[int]
    ) -> Anomalies:
        method = AnoDDPM(level, min(self.steps, level), times)
        parts = [
            method.apply(prior, part.image, seed=seed, batch_size=128, progress=self.progress)
            for part, seed in zip(cases, seeds, strict=True)
        ]
        return joined(parts)


def joined(parts: Sequence[Anomalies]) -> Anomalies:
    """One after the other."""
    fields = ("map", "healed", "score")
    return replace(parts[0], **{k: torch.cat([getattr(p, k) for p in parts]) for k in fields})
