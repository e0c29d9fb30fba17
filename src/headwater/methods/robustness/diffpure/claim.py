"""Does purification withstand attackers who know of it, and for which noise? (Nie et al. 2022, sec. 5)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from headwater.attacks import APGD, PGD, Attack, Report, Threat, suite
from headwater.data import load
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import Comparison, compare, verdict
from headwater.methods.robustness.diffpure.claim_models import train_prior, train_target
from headwater.methods.robustness.diffpure.claim_page import Example, examples, tell
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.methods.robustness.shared.purified import Purified
from headwater.models import Prior
from headwater.sampling import Run

Kind = Literal["sde", "ode"]
Norm = Literal["linf", "l2"]
RADII: dict[Norm, tuple[float, ...]] = {
    "linf": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
    "l2": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
}
BROKEN = 0.1
"""The radius is the smallest that leaves the bare classifier no more than this on training pictures."""
NAIVE, BLIND, EXACT = "classifier only", "BPDA + EOT", "exact gradient + EOT"


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    pictures: int
    """Test pictures, the same for every seed."""
    tuning: int
    """Training pictures on which radius and level are chosen."""
    levels: tuple[int, ...]
    steps: int
    """Gradients per attack."""
    draws: int
    """Draws of the noise per gradient."""
    votes: int
    epochs: int
    """Of the classifier."""
    prior_steps: int
    seeds: int
    l2: bool


QUICK = Setting(32, 32, (25, 100, 300), 8, 4, 5, 8, 1000, 1, False)
FULL = Setting(128, 64, (25, 50, 100, 150, 200, 300), 20, 16, 10, 20, 3000, 3, True)
METHOD = DiffPure(steps=10)
"""Ten steps of ten thousandths: exact gradients through a hundred would cost ten times as much."""


@dataclass(frozen=True)
class Models:
    """What is trained anew for each seed."""

    seed: int
    classifier: nn.Module
    prior: Prior

    def purified(self, level: int, kind: Kind = "sde") -> Purified:
        """The defended classifier."""
        method = replace(METHOD, level=level, steps=min(METHOD.steps, level), kind=kind)
        return Purified(self.classifier, self.prior, method, seed=self.seed).eval()


@dataclass(frozen=True)
class Found:
    """Reports of all seeds, arm by arm."""

    threat: Threat
    level: int
    arms: Mapping[str, list[Report]]
    """bare, sde, ode, and sde under L2 at full effort."""
    sweep: Mapping[int, list[Report]]


def attacks(setting: Setting) -> dict[str, Attack]:
    """Every attack with the same steps and candidates, so that only what it knows differs."""
    return {
        NAIVE: PGD(setting.steps, 1, "classifier"),
        BLIND: PGD(setting.steps, setting.draws, "bpda"),
        EXACT: PGD(setting.steps, setting.draws),
        "exact APGD + EOT": APGD(setting.steps, setting.draws),
    }


def swept(setting: Setting) -> dict[str, Attack]:
    """What each level faces: half the gradients and draws, or the curve would cost more than the rest."""
    return {
        NAIVE: PGD(setting.steps, 1, "classifier"),
        EXACT: PGD(max(setting.steps // 2, 1), max(setting.draws // 2, 1)),
    }


def reproduce(task: Task) -> Outcome:
    """Train, choose radius and level on training pictures, attack test pictures, compare."""
    setting = QUICK if task.effort == "quick" else FULL
    train, test = load("tiny", "train"), load("tiny", "test")
    models = [
        Models(
            seed,
            train_target(train, seed, setting.epochs),
            train_prior(train.images, seed, setting.prior_steps, task.progress),
        )
        for seed in task.seeds[: setting.seeds]
    ]
    tune = _chosen(train.images, cast(Tensor, train.labels), setting.tuning)
    shown = _chosen(test.images, cast(Tensor, test.labels), setting.pictures)
    work = _Work(models, setting, Run(batch_size=64, progress=task.progress))
    threat = work.radius("linf", tune)
    level = work.level(threat, tune)
    strong, known = attacks(setting), setting.steps

    def at(level: int, kind: Kind = "sde") -> Callable[[Models], nn.Module]:
        return lambda m: m.purified(level, kind)

    arms = {
        "bare": work.attack(lambda m: m.classifier, shown, threat),
        "sde": work.attack(at(level), shown, threat, strong, known),
        "ode": work.attack(at(level, "ode"), shown, threat, strong, known),
    }
    if setting.l2:
        euclid = work.radius("l2", tune)
        arms["bare, L2"] = work.attack(lambda m: m.classifier, shown, euclid)
        arms["sde, L2"] = work.attack(at(level), shown, euclid, strong)
    sweep = {t: work.attack(at(t), shown, threat, swept(setting)) for t in setting.levels}
    found = Found(threat, level, arms, sweep)
    gallery = examples(models[0].classifier, models[0].purified(level), *shown, threat, strong[EXACT])
    return _outcome(task, setting, found, gallery)


@dataclass(frozen=True)
class _Work:
    """The same attack on every seed's models."""

    models: list[Models]
    setting: Setting
    run: Run

    def attack(
        self,
        make: Callable[[Models], nn.Module],
        pictures: tuple[Tensor, Tensor],
        threat: Threat,
        against: Mapping[str, Attack] | None = None,
        known: int = 0,
    ) -> list[Report]:
        votes = self.setting.votes
        return [
            suite(make(m), *pictures, threat, against, votes, known, **replace(self.run, seed=m.seed))
            for m in self.models
        ]

    def radius(self, norm: Norm, tune: tuple[Tensor, Tensor]) -> Threat:
        """The smallest radius at which every seed's bare classifier breaks on training pictures."""
        for eps in RADII[norm]:
            threat = Threat(norm, eps)
            left = self.attack(lambda m: m.classifier, tune, threat, {"exact PGD": PGD(20)})
            if max(_mean([r.worst]) for r in left) <= BROKEN:
                return threat
        return Threat(norm, RADII[norm][-1])

    def level(self, threat: Threat, tune: tuple[Tensor, Tensor]) -> int:
        """The level with the best worst case on training pictures, the ends of the range excluded."""

        def score(level: int) -> float:
            reports = self.attack(lambda m: m.purified(level), tune, threat, swept(self.setting))
            return _mean([r.worst for r in reports])

        inner = list(self.setting.levels)[1:-1]
        return max(inner, key=score) if len(inner) > 1 else inner[0]


def required(found: Found) -> list[Comparison]:
    """What the claim asks for, picture by picture, seeds averaged; larger means more still right."""

    def held(reports: list[Report], name: str) -> list[list[float]]:
        return [r.held[name].double().tolist() for r in reports]

    def worst(reports: list[Report]) -> list[list[float]]:
        return [r.worst.double().tolist() for r in reports]

    def clean(reports: list[Report]) -> list[list[float]]:
        return [r.clean.double().tolist() for r in reports]

    sde, sweep = found.arms["sde"], found.sweep
    low, high = min(sweep), max(sweep)
    bare = [r.worst.double().tolist() for r in found.arms["bare"]]
    pairs = [
        (f"robust at {found.level}, against {low}: it rises", worst(sweep[found.level]), worst(sweep[low])),
        (f"robust at {found.level}, against {high}: it falls", worst(sweep[found.level]), worst(sweep[high])),
        (f"clean at {low}, against {high}: it falls", clean(sweep[low]), clean(sweep[high])),
        ("purified under a classifier-only attack, against the bare classifier", held(sde, NAIVE), bare),
        ("left by a classifier-only attack, against BPDA + EOT", held(sde, NAIVE), held(sde, BLIND)),
        ("left by BPDA + EOT, against exact gradients + EOT", held(sde, BLIND), held(sde, EXACT)),
        ("SDE, worst case, against ODE", worst(sde), worst(found.arms["ode"])),
    ]
    return [compare(what, ours, other, "larger", "picture") for what, ours, other in pairs]


def _outcome(task: Task, setting: Setting, found: Found, gallery: list[Example]) -> Outcome:
    comparisons = required(found)
    conclusion = verdict(comparisons)
    sde, bare = (_mean([r.worst for r in found.arms[name]]) for name in ("sde", "bare"))
    clean = _mean([r.clean for r in found.arms["sde"]])
    measured = (
        f"{found.threat}, level {found.level}: {100 * sde:.0f} % right in the worst case of "
        f"{len(attacks(setting))} attacks (bare classifier {100 * bare:.0f} %, clean pictures "
        f"{100 * clean:.0f} %); " + "; ".join(str(c) for c in comparisons)
    )
    settings = {
        "effort": task.effort,
        "seeds": list(task.seeds[: setting.seeds]),
        "pictures": setting.pictures,
        "purification steps": METHOD.steps,
        "gradients per attack": setting.steps,
        "draws per gradient": setting.draws,
        "votes": setting.votes,
        "radius and level": f"chosen on {setting.tuning} training pictures",
        "data": "tiny, 8 x 8",
    }
    section = tell(task.page, found.threat, found.level, found.arms, found.sweep, gallery)
    section.table(
        ["larger is claimed for", "by", "95 % interval, from", "to"],
        [[c.what, c.mean, c.low, c.high] for c in comparisons],
        caption="Differences of shares, paired by picture; a comparison is won when its interval is above 0.",
        decimals={"by": 3, "95 % interval, from": 3, "to": 3},
    )
    section.settings(settings)
    section.claim(DiffPure.paper.claim, measured, conclusion)
    metrics = {
        "threat": str(found.threat),
        "level": found.level,
        "comparisons": {c.what: c.to_dict() for c in comparisons},
        "arms": {name: [r.to_dict() for r in reports] for name, reports in found.arms.items()},
        "sweep": {str(at): [r.to_dict() for r in reports] for at, reports in found.sweep.items()},
    }
    return Outcome("diffpure", DiffPure.paper.claim, measured, conclusion, metrics, settings)


def _mean(held: list[Tensor]) -> float:
    return float(torch.stack(held).double().mean())


def _chosen(images: Tensor, labels: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """n pictures in [0, 1] and their classes, in one order for all seeds."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:n]
    return (images[order] + 1) / 2, labels[order]
