"""Does one purifier withstand several kinds of attack, on average better than classifiers that were trained
against one of them? (Blau et al. 2022, sec. 4)

A classifier and a prior of digits are trained for each seed, as for DiffPure, and two more classifiers of the
same kind by PGD on every batch, against L-infinity and against L2 (Madry et al. 2018). Three threats: the two
norms, attacked by all who know of the purifier, and Gaussian noise, which nobody aims. Their sizes are the
smallest that leave the bare classifier 10 % (50 % for the noise) on training pictures. The purifier has the
paper's level and steps, chosen for none of them. Required on test pictures, beyond chance, seeds averaged: it
leaves more than the bare classifier in the worst case of all attacks, for each norm, and under noise; the
mean over the three threats is above that of both trained classifiers; and 15 calls leave no more than 3
points less than all 141 where nobody attacks. Written before any result.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn

from headwater.attacks import PGD, Seeded, Threat
from headwater.attacks.report import CLEAN, WORST
from headwater.attacks.suite import holds
from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.robustness.blau_purification.method import BlauPurification
from headwater.methods.robustness.shared import claims
from headwater.methods.robustness.shared.pictures import Labelled, Norm
from headwater.methods.robustness.shared.purifies import OnUnitRange
from headwater.metrics.classifier import train_classifier
from headwater.noise import derive, seeds
from headwater.report import Section

OURS, MANY = "purified", "purified, 141 calls"
HARDENED: dict[Norm, str] = {"linf": "trained against L-infinity", "l2": "trained against L2"}
IN_NOISE, MEAN = "Gaussian noise", "mean over threats"
NOISES = tuple(k / 20 for k in range(2, 21))
"""Standard deviations of Gaussian noise on [0, 1]."""
HALF, ALLOWED = 0.5, 0.03
INNER = 7
"""Gradients per batch of adversarial training."""


@dataclass(frozen=True, kw_only=True)
class Settings(claims.Settings):
    """How much is computed."""

    hardened_epochs: int
    """Of adversarial training, which converges more slowly."""
    method: BlauPurification = field(default_factory=BlauPurification)


def harden(threat: Threat, seed: int, epochs: int) -> nn.Module:
    """A classifier of training pictures in [0, 1], trained on each batch as PGD leaves it."""
    data, attack = load("tiny", "train"), PGD(INNER)

    def disturb(net: nn.Module, images: Tensor, labels: Tensor, number: int) -> Tensor:
        own = [derive(seed, 3, number, i) for i in range(len(images))]
        return attack.perturb(OnUnitRange(net), threat, (images + 1) / 2, labels, own)[0] * 2 - 1

    net = train_classifier(data.images, cast(Tensor, data.labels), seed, epochs, disturb=disturb)
    return OnUnitRange(net).eval()


def noisy(pictures: Labelled, std: float) -> Labelled:
    """The pictures with Gaussian noise, within [0, 1]; the same for every arm and seed."""
    draws = [torch.randn(1, *p.shape, generator=torch.Generator().manual_seed(s)) for p, s in zip(
        pictures[0], seeds(0, 78, n=len(pictures[0])), strict=True
    )]  # fmt: skip
    return (pictures[0] + std * torch.cat(draws)).clamp(0, 1), pictures[1]


def right(models: claims.Models, model: nn.Module, pictures: Labelled) -> Tensor:
    """Which pictures a model gets right as they are, by the votes of an attack's report, float (N,)."""
    votes = models.settings.votes if isinstance(model, Seeded) else 1
    return holds(model, *pictures, votes, seeds(models.seed, 79, n=len(pictures[0]))).double()


def prepare(settings: Settings, trial: Trial) -> tuple[list[claims.Models], dict[Norm, Threat], float]:
    """The models of all seeds, and the sizes of the three threats, chosen on training pictures."""
    tune, models = settings.tuned_on, claims.trained(settings, trial)
    threats: dict[Norm, Threat] = {norm: claims.breaking(models, tune, norm) for norm in HARDENED}

    def left(std: float) -> float:
        return max(float(right(m, m.classifier, noisy(tune, std)).mean()) for m in models)

    return models, threats, next((std for std in NOISES if left(std) <= HALF), NOISES[-1])


def measure(settings: Settings, trial: Trial) -> None:
    """Attack this seed's models on test pictures in both norms, and see them in noise."""
    every, threats, std = trial.once("models", lambda: prepare(settings, trial))
    models, pictures = every[trial.index], settings.scored_on
    defended = models.behind(settings.method)
    arms: dict[str, nn.Module] = {claims.BARE: models.classifier, OURS: defended}
    for norm, arm in HARDENED.items():
        arms[arm] = harden(threats[norm], trial.seed, settings.hardened_epochs)
    trial.found.samples["threats"] = [*map(str, threats.values()), f"{IN_NOISE} {std:g}"]
    for arm, model in arms.items():
        held = [right(models, model, noisy(pictures, std))]
        trial.found.add(IN_NOISE, arm, held[0])
        for norm, threat in threats.items():
            against = claims.attacks(settings, defended) if model is defended else None
            known = settings.steps if model is defended and norm == "linf" else 0
            report = models.attacked(model, pictures, threat, against, known)
            claims.note(trial, report, arm, f", {norm}")
            held.append(report.worst.double())
        trial.found.add(MEAN, arm, torch.stack(held).mean(0))
    level = settings.method.level
    every_step = models.behind(replace(settings.method, steps=level))
    for arm, model in ((OURS, defended), (MANY, every_step)):
        trial.found.add(CLEAN, arm, right(models, model, pictures))
    if trial.index == 0:
        exact = PGD(settings.steps, settings.draws)
        for threat in threats.values():
            caption = f"Attack by exact gradients through the purifier at level {level}, {threat}."
            claims.draw(
                trial.section, models, models.behind(settings.method), threat, exact, pictures, caption
            )


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    worst = [f"{WORST}, {norm}" for norm in HARDENED]
    return [
        *[results.compare(f"{m}, against bare", (m, OURS), (m, claims.BARE)) for m in (*worst, IN_NOISE)],
        *[results.compare(f"{MEAN}, against {arm}", (MEAN, OURS), (MEAN, arm)) for arm in HARDENED.values()],
        results.compare(
            f"no attack, 15 calls against 141, less {100 * ALLOWED:g} points",
            (CLEAN, OURS),
            results.rows(CLEAN, MANY) - ALLOWED,
        ),
    ]


def show(section: Section, results: Results[Settings]) -> None:
    """The strongest attack on every arm, for each norm."""
    section.note(f"Threats: {', '.join(results.first['threats'])} (standard deviation).")
    for norm in HARDENED:
        claims.strongest(section, results, (claims.BARE, OURS, *HARDENED.values()), f", {norm}")


CLAIM = Claim(
    "blau-purification",
    "Attacks of any kind washed out: Blau et al.",
    "A classifier of 8 x 8 digits behind one purifier, under attacks of two norms and in noise, beside "
    "classifiers that were trained against one of the norms.",
    unit="picture",
    tiny=Settings(
        pictures=4, tuning=4, steps=2, draws=2, votes=2, epochs=1, prior_steps=20, hardened_epochs=1,
        method=BlauPurification(steps=2),
    ),
    quick=Settings(
        pictures=24, tuning=32, steps=8, draws=3, votes=5, epochs=8, prior_steps=1000, hardened_epochs=5
    ),
    full=Settings(
        pictures=96, tuning=64, steps=20, draws=8, votes=10, epochs=20, prior_steps=3000, hardened_epochs=30
    ),
    measures={MEAN: Measure("larger", "Worst cases of both norms, and right in noise.")}
    | {m: Measure("larger", "What is still right.", share=True) for m in (CLEAN, IN_NOISE)}
    | {
        f"{m}, {norm}": Measure("larger", "What is still right.", share=True)
        for norm in HARDENED
        for m in dict.fromkeys(claims.TABLED)
    },
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {"threats": results.first["threats"], "reports": results.collect("reports")},
    quick_seeds=1,
)  # fmt: skip
