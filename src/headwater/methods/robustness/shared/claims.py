"""How the claims of defences measure: classifiers and priors of small pictures, radii that break them,
attackers who know more and more, and what is drawn and tabled of it. Claims import the module as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from headwater.attacks import APGD, PGD, Attack, Report, Threat, Transfer, suite, usual_attacks
from headwater.attacks.report import (
    APGD_EXACT,
    BLIND,
    CLEAN,
    EXACT,
    KNOWN,
    NAIVE,
    SINGLE,
    SINGLE_WORST,
    TRANSFER,
    WORST,
)
from headwater.experiments.harness import Results, Trial
from headwater.experiments.page import share
from headwater.methods.robustness.shared.pictures import PICTURES, Labelled, Norm, Pictures
from headwater.methods.robustness.shared.purifies import Purified, Purifies
from headwater.models import Prior
from headwater.noise import derive, seeds
from headwater.report import Cell, Section, Series, Signed

DataName = Literal["digits", "emoji"]
BROKEN = 0.1
"""The radius is the smallest that leaves the bare classifier no more than this on training pictures."""
NOISE_KNOWN = f"({KNOWN})"
BARE = "no purifier"
TABLED = (WORST, CLEAN, NAIVE, BLIND, EXACT, APGD_EXACT, NOISE_KNOWN, *usual_attacks(nn.Identity()))
"""Measures of an arm that faced all attacks, with a purifier or without."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is computed of what all such claims compute."""

    pictures: int
    """Test pictures, the same for every seed."""
    tuning: int
    """Training pictures on which radius and level are chosen."""
    steps: int
    """Gradients per attack."""
    draws: int
    """Draws of the noise per gradient."""
    votes: int
    epochs: int
    """Of the classifier."""
    prior_steps: int
    data: DataName = "digits"
    """What is attacked, of `PICTURES`."""

    @property
    def source(self) -> Pictures:
        """Where the pictures are read."""
        return PICTURES[self.data]

    @property
    def tuned_on(self) -> Labelled:
        """Training pictures in [0, 1] on which radius and level are chosen, and their classes."""
        return self.source.first("train", self.tuning)

    @property
    def scored_on(self) -> Labelled:
        """Test pictures in [0, 1], and their classes."""
        return self.source.first("test", self.pictures)


S = TypeVar("S", bound=Settings)


# What is trained anew for each seed


@dataclass(frozen=True)
class Models:
    """A classifier of pictures in [0, 1], and the prior of its purifier."""

    settings: Settings
    trial: Trial
    seed: int
    classifier: nn.Module
    prior: Prior

    @cached_property
    def surrogate(self) -> nn.Module:
        """A classifier that somebody else trained for the same task, with other draws."""
        return self.settings.source.classifier(derive(self.seed, 5), self.settings.epochs)

    def behind(self, purifier: Purifies) -> Purified:
        """The defended classifier."""
        return Purified(self.classifier, self.prior, purifier, seed=self.seed).eval()

    def attacked(
        self, model: nn.Module, pictures: Labelled, threat: Threat,
        against: Mapping[str, Attack] | None = None, known: int = 0,
    ) -> Report:  # fmt: skip
        """What is left of the classifier, bare or defended."""
        run = replace(self.trial.run(64), seed=self.seed)
        return suite(model, *pictures, threat, against, self.settings.votes, known, **run)


def trained(settings: Settings, trial: Trial) -> list[Models]:
    """The models of all seeds."""
    source, models = settings.source, list[Models]()
    for seed in trial.seeds:
        classifier = source.classifier(seed, settings.epochs)
        prior = source.prior(seed, settings.prior_steps, trial.progress)
        models.append(Models(settings, trial, seed, classifier, prior))
    return models


# What they face


def breaking(models: Sequence[Models], pictures: Labelled, norm: Norm) -> Threat:
    """The smallest radius at which every seed's bare classifier breaks, or else the largest."""
    radii = models[0].settings.source.radii[norm]
    for eps in radii:
        threat, exact = Threat(norm, eps), {"exact PGD": PGD(20)}
        left = [m.attacked(m.classifier, pictures, threat, exact).worst.double().mean() for m in models]
        if max(left) <= BROKEN:
            return threat
    return Threat(norm, radii[-1])


def attacks(settings: Settings, defended: Purified, surrogate: nn.Module | None = None) -> dict[str, Attack]:
    """The usual ones, all but the last as PGD with the same steps, so that only what they know differs; and
    one that practises on the surrogate where there is one."""
    usual = usual_attacks(defended, settings.steps, settings.draws)
    blind = {} if surrogate is None else {TRANSFER: Transfer(surrogate, APGD(settings.steps))}
    return usual | {NAIVE: PGD(settings.steps, 1, "classifier")} | blind


def sweep_attacks(settings: Settings) -> dict[str, Attack]:
    """What each level faces: half the gradients and draws, or the curve would cost more than the rest."""
    return {
        NAIVE: PGD(settings.steps, 1, "classifier"),
        EXACT: PGD(max(settings.steps // 2, 1), max(settings.draws // 2, 1)),
    }


def left_of(models: Sequence[Models], purifier: Purifies, pictures: Labelled, threat: Threat) -> float:
    """The share of pictures that a purifier leaves right in the worst case of `sweep_attacks`, seeds
    averaged: what its settings are chosen by, on training pictures."""
    left = [m.attacked(m.behind(purifier), pictures, threat, sweep_attacks(m.settings)).worst for m in models]
    return float(torch.stack(left).double().mean())


def note(trial: Trial, report: Report, arm: str, case: str = "") -> None:
    """Write down what a report says of an arm, under each attack; `case` is part of the measures' names."""
    for name, held in report.by_name.items():
        trial.found.add(f"{NOISE_KNOWN if name == KNOWN else name}{case}", arm, held)
    for name, right in report.single_by_name.items():
        trial.found.add(f"{name}{case}", arm, right)
    trial.found.samples.setdefault("reports", {})[f"{arm}{case}"] = report.to_dict()


# What is shown


@torch.no_grad()
def draw(
    section: Section, models: Models, purified: Purified, threat: Threat, attack: Attack, pictures: Labelled,
    caption: str,
) -> None:  # fmt: skip
    """The first pictures: clean, attacked by one who knows the purifier, the attack, purified; and what the
    classifier calls each."""
    x, y, own = pictures[0][:6], pictures[1][:6], seeds(0, 77, n=min(6, len(pictures[0])))
    hostile = attack.perturb(purified, threat, x, y, own)[-1]
    names = models.settings.source.classes
    stages = [x, hostile, purified.purified(hostile, own), purified.purified(x, own)]
    cells: list[list[Cell]] = [[2 * image - 1 for image in stage] for stage in stages]
    seen = [models.classifier(stage).argmax(1).tolist() for stage in stages]
    called = [[f"seen as {names[k]}" for k in classes] for classes in seen]
    cells.insert(2, [Signed(difference, threat.eps) for difference in (hostile - x).mean(1)])
    called.insert(2, [""] * len(x))
    section.pictures(
        ["picture", "attacked", "attack", "purified", "purified picture"],
        list(zip(*cells, strict=True)),
        [f"a {names[k]}" for k in y.tolist()],
        list(zip(*called, strict=True)),
        caption,
    )


def curve(results: Results[Any], lines: Mapping[str, tuple[str, str]], at: Sequence[float]) -> list[Series]:
    """Lines over `at`, with Wilson's intervals; name -> measure, with {} for the place, and arm."""
    drawn: list[Series] = []
    for name, (measure, arm) in lines.items():
        found = [share(results, measure.format(place), arm) for place in at]
        low, mean, high = zip(*((s.low, s.mean, s.high) for s in found), strict=True)
        drawn.append(Series(name, at, mean, low, high))
    return drawn


def strongest(section: Section, results: Results[S], arms: Sequence[str], case: str = "") -> None:
    """A table of the strongest attack on every arm, and their warnings; `case` as in `note`."""
    reports = results.first["reports"]
    section.table(
        ["arm", "threat", "strongest single attack", "still right under it", "worst case of all",
         "one draw, no attack", "one draw, worst case"],
        [
            [
                arm,
                r["threat"],
                r["strongest"],
                *(share(results, f"{m}{case}", arm) for m in (r["strongest"], WORST)),
                *(f"{results.mean(f'{m}{case}', arm):.1%}" for m in (SINGLE, SINGLE_WORST)),
            ]
            for arm, r in ((arm, reports[f"{arm}{case}"]) for arm in arms)
        ],
        f"{results.settings.pictures} pictures; a purified one is right if its class wins strictly most of "
        f"{results.settings.votes} votes with fresh noise, for every candidate of an attack. Strongest: with "
        "the first seed. One draw: what a single evaluation gets right, in the worst case of the candidate "
        "of each picture that it gets right least often.",
    )  # fmt: skip
    for arm in arms:
        found = {w for reports in results.collect("reports") for w in reports[f"{arm}{case}"]["warnings"]}
        for warning in sorted(found):
            section.note(f"{arm}: {warning}.")
