"""Does purification withstand attackers who know of it, and for which noise? (Nie et al. 2022, sec. 5)

A classifier and a prior are trained for each seed. The radius of the attack is the smallest that breaks the
bare classifier, the level of the noise the one that withstands most, both on training pictures. Required on
test pictures, beyond chance, seeds averaged: what is left in the worst case of all attacks rises with the
level, then falls, while clean accuracy falls; purification helps against an attack on the classifier alone;
attackers who know more break more (BPDA, then exact gradients); and the SDE withstands more than the ODE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from headwater.attacks import Attack, Threat
from headwater.attacks.report import BLIND, CLEAN, EXACT, NAIVE, WORST
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.methods.robustness.shared import claims
from headwater.methods.robustness.shared.pictures import Norm
from headwater.report import Section

Kind = Literal["sde", "ode"]
SDE, ODE = "DiffPure, SDE", "DiffPure, ODE"


@dataclass(frozen=True, kw_only=True)
class Settings(claims.Settings):
    """How much is computed."""

    levels: tuple[int, ...]
    l2: bool = False
    method: DiffPure = field(default_factory=lambda: DiffPure(steps=10))
    """Ten steps of ten thousandths: exact gradients through a hundred would cost ten times as much."""

    def at(self, level: int, kind: Kind = "sde") -> DiffPure:
        """The purifier at a level."""
        return replace(self.method, level=level, steps=min(self.method.steps, level), kind=kind)


def prepare(settings: Settings, trial: Trial) -> tuple[list[claims.Models], dict[Norm, Threat], int]:
    """The models of all seeds, the radius for each norm and the level, chosen on training pictures."""
    tune, models = settings.tuned_on, claims.trained(settings, trial)
    norms: tuple[Norm, ...] = ("linf", "l2") if settings.l2 else ("linf",)
    threats: dict[Norm, Threat] = {norm: claims.breaking(models, tune, norm) for norm in norms}

    def score(level: int) -> float:
        return claims.left_of(models, settings.at(level), tune, threats["linf"])

    inner = settings.levels[1:-1]
    return models, threats, max(inner, key=score) if len(inner) > 1 else next(iter(inner))


def measure(settings: Settings, trial: Trial) -> None:
    """Attack this seed's models on test pictures."""
    every, threats, level = trial.once("models", lambda: prepare(settings, trial))
    models, pictures = every[trial.index], settings.scored_on
    defended, samples = models.behind(settings.at(level)), trial.found.samples
    strong = claims.attacks(settings, defended)
    samples |= {"threat": str(threats["linf"]), "level": level, "reports": {}}

    def attack(
        arm: str, model: nn.Module, norm: Norm = "linf", against: Mapping[str, Attack] | None = None,
        known: int = 0, case: str = "",
    ) -> None:  # fmt: skip
        claims.note(trial, models.attacked(model, pictures, threats[norm], against, known), arm, case)

    attack(claims.BARE, models.classifier)
    attack(SDE, defended, "linf", strong, settings.steps)
    attack(ODE, models.behind(settings.at(level, "ode")), "linf", strong, settings.steps)
    if settings.l2:
        attack(f"{claims.BARE}, L2", models.classifier, "l2")
        attack(f"{SDE}, L2", models.behind(settings.at(level)), "l2", strong)
    for at in settings.levels:
        purified = models.behind(settings.at(at))
        attack(SDE, purified, "linf", claims.sweep_attacks(settings), case=f" at level {at}")
    if trial.index == 0:
        claims.draw(
            trial.section, models, models.behind(settings.at(level)), threats["linf"], strong[EXACT],
            pictures,
            f"Attack by exact gradients through the purifier at level {level}, {threats['linf']}. It aims at "
            "the purified picture (fourth column), not at what the bare classifier sees.",
        )  # fmt: skip


def rule(results: Results[Settings]) -> list[Comparison]:
    """What the claim asks for, picture by picture, seeds averaged; larger means more still right."""
    level = results.first["level"]
    low, high = min(results.settings.levels), max(results.settings.levels)

    def at(measure: str, level: int) -> tuple[str, str]:
        return f"{measure} at level {level}", SDE

    return [
        results.compare(what, ours, other)
        for what, ours, other in (
            (f"robust at {level}, against {low}: it rises", at(WORST, level), at(WORST, low)),
            (f"robust at {level}, against {high}: it falls", at(WORST, level), at(WORST, high)),
            (f"clean at {low}, against {high}: it falls", at(CLEAN, low), at(CLEAN, high)),
            ("purified under a classifier-only attack, against the bare classifier",
             (NAIVE, SDE), (WORST, claims.BARE)),
            ("left by a classifier-only attack, against BPDA + EOT", (NAIVE, SDE), (BLIND, SDE)),
            ("left by BPDA + EOT, against exact gradients + EOT", (BLIND, SDE), (EXACT, SDE)),
            ("SDE, worst case, against ODE", (WORST, SDE), (WORST, ODE)),
        )
    ]  # fmt: skip


def show(section: Section, results: Results[Settings]) -> None:
    """The curve over levels, and the strongest attack on every arm."""
    first, levels = results.first, results.settings.levels
    lines = {"no attack": (f"{CLEAN} at level {{}}", SDE), "worst case": (f"{WORST} at level {{}}", SDE)}
    section.curve(
        claims.curve(results, lines, levels),
        x="level t* (of 1,000)",
        y="share still right",
        caption="More noise washes out more of the attack, then of the digit. Worst case of "
        f"{len(claims.sweep_attacks(results.settings))} attacks; all attacks at full length leave "
        f"{results.mean(WORST, SDE):.3f} at level {first['level']}. Bands: Wilson 95 %.",
    )
    claims.strongest(section, results, [arm for arm in first["reports"] if " at level " not in arm])


QUICK = Settings(
    pictures=32, tuning=32, levels=(25, 100, 300), steps=8, draws=4, votes=5, epochs=8, prior_steps=1000
)
FULL = Settings(
    pictures=128, tuning=64, levels=(25, 50, 100, 150, 200, 300), steps=20, draws=16, votes=10, epochs=20,
    prior_steps=3000, l2=True,
)  # fmt: skip
SWEPT = [f"{m} at level {t}" for m in (WORST, CLEAN) for t in {*QUICK.levels, *FULL.levels}]
CLAIM = Claim(
    "diffpure",
    "Attacks washed out: DiffPure",
    "A classifier of 8 x 8 digits behind a purifier that it knows nothing of, attacked by those who do.",
    unit="picture",
    tiny=Settings(
        pictures=4,
        tuning=4,
        levels=(25, 50, 200),
        steps=2,
        draws=2,
        votes=2,
        epochs=1,
        prior_steps=20,
        l2=True,
    ),
    quick=QUICK,
    full=FULL,
    measures={m: Measure("larger", "What is still right.", share=True) for m in claims.TABLED}
    | {m: Measure("larger", tabled=False, share=True) for m in SWEPT},
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {
        "threat": results.first["threat"],
        "level": results.first["level"],
        "reports": results.collect("reports"),
    },
    quick_seeds=1,
)
