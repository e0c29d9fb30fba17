"""What the claims of defences share: classifiers and priors of 8 x 8 digits, radii that break them, attackers
who know more and more, and what is drawn and tabled of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from headwater.attacks import PGD, Attack, Report, Threat, suite, usual_attacks
from headwater.attacks.report import KNOWN, WORST
from headwater.core import Denoiser
from headwater.data import load
from headwater.experiments.harness import Results, Trial
from headwater.experiments.page import share
from headwater.methods.robustness.shared.purifies import OnUnitRange, Purified, Purifies
from headwater.metrics.classifier import train_classifier
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.perceptron import Perceptron
from headwater.noise import derive, seeds
from headwater.report import Cell, Section, Series, Signed
from headwater.sampling import Run
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import stratified

Norm = Literal["linf", "l2"]
RADII: dict[Norm, tuple[float, ...]] = {
    "linf": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
    "l2": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
}
BROKEN = 0.1
"""The radius is the smallest that leaves the bare classifier no more than this on training pictures."""
NAIVE, BLIND, EXACT = "classifier only", "BPDA + EOT", "exact gradient + EOT"
APGD_EXACT, NOISE_KNOWN = "exact APGD + EOT", f"({KNOWN})"
BARE = "no purifier"
Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
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


S = TypeVar("S", bound=AttackSettings)


# What is trained anew for each seed


def train_prior(pictures: Tensor, seed: int, steps: int, progress: bool) -> Prior:
    """A prior of pictures (N, C, H, W) in [-1, 1], with the chain of Ho et al. 2020 and a v target."""
    shape = cast("tuple[int, int, int]", tuple(pictures.shape[1:]))
    config = PriorConfig({"kind": "perceptron"}, shape, ProcessConfig(), predicts="v")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 1))
        network = Perceptron(pictures[0].numel())
    how = TrainerConfig(steps, 128, 2e-3, warmup=100, decay="cosine", ema=0.99)
    q = config.process.build()

    def loss(net: nn.Module, rows: Tensor, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(seed, 2, number))
        x0 = pictures[rows]
        t = stratified(len(rows), q.T, torch.rand(len(rows), generator=generator) / len(rows))
        eps = torch.randn(x0.shape, generator=generator)
        return Denoiser(net, q, "v").loss(x0, t, eps).mean()

    return Prior(train(network, loss, len(pictures), how, Run(seed, progress=progress)), config)


@dataclass(frozen=True)
class Models:
    """A classifier of pictures in [0, 1], and the prior of its purifier."""

    settings: AttackSettings
    trial: Trial
    seed: int
    classifier: nn.Module
    prior: Prior

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


def trained(settings: AttackSettings, trial: Trial) -> list[Models]:
    """The models of all seeds."""
    data, models = load("tiny", "train"), list[Models]()
    for seed in trial.seeds:
        target = train_classifier(data.images, cast(Tensor, data.labels), seed, settings.epochs)
        prior = train_prior(data.images, seed, settings.prior_steps, trial.progress)
        models.append(Models(settings, trial, seed, OnUnitRange(target).eval(), prior))
    return models


def first_pictures(split: str, n: int) -> Labelled:
    """n pictures in [0, 1] and their classes, in one order for all seeds."""
    data = load("tiny", split)
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(0))[:n]
    return (data.images[order] + 1) / 2, cast(Tensor, data.labels)[order]


# What they face


def breaking(models: Sequence[Models], pictures: Labelled, norm: Norm) -> Threat:
    """The smallest radius at which every seed's bare classifier breaks, or else the largest."""
    for eps in RADII[norm]:
        threat, exact = Threat(norm, eps), {"exact PGD": PGD(20)}
        left = [m.attacked(m.classifier, pictures, threat, exact).worst.double().mean() for m in models]
        if max(left) <= BROKEN:
            return threat
    return Threat(norm, RADII[norm][-1])


def attacks(settings: AttackSettings, defended: Purified) -> dict[str, Attack]:
    """The usual ones, all but the last as PGD with the same steps, so that only what they know differs."""
    usual = usual_attacks(defended, settings.steps, settings.draws)
    return usual | {NAIVE: PGD(settings.steps, 1, "classifier")}


def sweep_attacks(settings: AttackSettings) -> dict[str, Attack]:
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
    stages = [x, hostile, purified.purified(hostile, own), purified.purified(x, own)]
    cells: list[list[Cell]] = [[2 * image - 1 for image in stage] for stage in stages]
    called = [[f"seen as {c}" for c in models.classifier(stage).argmax(1).tolist()] for stage in stages]
    cells.insert(2, [Signed(difference, threat.eps) for difference in hostile - x])
    called.insert(2, [""] * len(x))
    section.pictures(
        ["picture", "attacked", "attack", "purified", "purified picture"],
        list(zip(*cells, strict=True)),
        [f"a {digit}" for digit in y.tolist()],
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
        ["arm", "threat", "strongest single attack", "still right under it", "worst case of all"],
        [
            [
                arm,
                r["threat"],
                r["strongest"],
                *(share(results, f"{m}{case}", arm) for m in (r["strongest"], WORST)),
            ]
            for arm, r in ((arm, reports[f"{arm}{case}"]) for arm in arms)
        ],
        f"{results.settings.pictures} pictures; a purified one is right if its class wins strictly most of "
        f"{results.settings.votes} votes with fresh noise, for every candidate of an attack. Strongest: with "
        "the first seed.",
    )
    for arm in arms:
        found = {w for reports in results.collect("reports") for w in reports[f"{arm}{case}"]["warnings"]}
        for warning in sorted(found):
            section.note(f"{arm}: {warning}.")
