"""Does resampling back and forth fill holes better, also at equal cost? (Lugmayr et al. 2022, sec. 5)

Required: RePaint has the smaller error in the hole and the smaller step at its edge than a plain loop of as
many steps, and than a plain loop of as many network calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from headwater.core.timesteps import network_calls
from headwater.data import load
from headwater.data.holes import FAMILIES, known_pixels
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.restoration.repaint.method import RePaint
from headwater.metrics.image import border_continuity, hole_error
from headwater.models import Prior


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Test pictures per seed and mask family."""
    families: tuple[str, ...]
    method: RePaint


FULL = Settings(24, tuple(FAMILIES), RePaint(steps=50, jump=5, resample=5))
"""The paper's proportions (a jump of some per cent, several times) for a small prior."""


def arms(method: RePaint, T: int) -> dict[str, RePaint]:
    """A plain loop, a plain loop with as many network calls, and resampling."""
    calls = network_calls(method.plan(T))
    plain = replace(method, resample=1)
    return {"plain": plain, "more steps": replace(plain, steps=min(calls, T)), "RePaint": method}


def measure(settings: Settings, trial: Trial) -> None:
    """Fill held-out digits in three ways; every mask family hides parts of the same pictures."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("digits"))
    pictures = load("digits", "test").images
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(trial.seed))
    truth, families, n = pictures[order[: settings.pictures]], settings.families, settings.pictures
    known = torch.cat([known_pixels(f, n, *truth.shape[-2:], seed=trial.seed) for f in families])
    truth = truth.repeat(len(families), 1, 1, 1)
    methods = arms(settings.method, prior.process.T)
    filled = {arm: method.apply(prior, truth, known, **trial.run(16)) for arm, method in methods.items()}
    for arm, result in filled.items():
        error, seam = hole_error(result, truth, known), border_continuity(result, truth, known)
        for i, family in enumerate(families):
            rows = slice(i * n, (i + 1) * n)
            trial.found.add("hole error", arm, error[rows], family)
            trial.found.add("seam", arm, seam[rows].double().abs(), family)
            trial.found.add("step at the edge", arm, seam[rows], family)
    calls = {arm: network_calls(method.plan(prior.process.T)) for arm, method in methods.items()}
    trial.found.samples["calls"] = calls
    shown = range(0, len(truth), max(1, n // 2))
    given = truth.where(known, torch.zeros(()))
    trial.section.pictures(
        ["given", *(f"{arm}, {n} calls" for arm, n in calls.items()), "truth"],
        [[given[i], *(f[i] for f in filled.values()), truth[i]] for i in shown],
        [families[i // n] for i in shown],
        caption="Two digits behind each kind of mask, first seed: not selected.",
    )


def rule(results: Results[Settings]) -> list[Comparison]:
    """Two measures, two other arms."""
    others = ("plain", "more steps")
    return [c for m in ("hole error", "seam") for c in results.against(m, "RePaint", *others)]


CLAIM = Claim(
    "repaint",
    "Holes filled: RePaint",
    "Held-out digits with a part hidden (grey), filled by the same prior in three ways.",
    unit="picture",
    tiny=Settings(2, ("half", "expand"), RePaint(steps=6, jump=2, resample=2)),
    quick=Settings(6, ("wide", "half", "expand"), RePaint(steps=25, jump=5, resample=5)),
    full=FULL,
    measures={
        "hole error": Measure("smaller", "Mean squared error over the hole, pictures in [-1, 1]."),
        "seam": Measure(
            "smaller", "Step across the edge of the hole beyond the truth's own, either way; 0 is seamless."
        ),
        "step at the edge": Measure(None, "Step across the edge of the hole minus that of the truth."),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: {"calls": results.first["calls"]},
    new_units=True,
)
