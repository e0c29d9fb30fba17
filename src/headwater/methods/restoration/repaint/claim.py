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
    """In the paper's proportions at full effort, a jump of some per cent, several times."""


def arms(method: RePaint, T: int) -> dict[str, RePaint]:
    """A plain loop, a plain loop with as many network calls, and resampling."""
    plain, calls = replace(method, resample=1), network_calls(method.plan(T))
    return {"plain": plain, "more steps": replace(plain, steps=min(calls, T)), "RePaint": method}


def measure(settings: Settings, trial: Trial) -> None:
    """Fill held-out digits in three ways; every mask family hides parts of the same pictures."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("digits"))
    pictures, families, n = load("digits", "test").images, settings.families, settings.pictures
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(trial.seed))
    known = torch.cat([known_pixels(f, n, *pictures.shape[-2:], seed=trial.seed) for f in families])
    truth = pictures[order[:n]].repeat(len(families), 1, 1, 1)
    calls = trial.found.samples["calls"] = {}
    columns = {"given": truth.where(known, torch.zeros(()))}
    for arm, method in arms(settings.method, prior.process.T).items():
        calls[arm] = network_calls(method.plan(prior.process.T))
        filled = method.apply(prior, truth, known, **trial.run(16))
        columns[f"{arm}, {calls[arm]} calls"] = filled
        error, seam = hole_error(filled, truth, known), border_continuity(filled, truth, known)
        for family, rows in zip(families, torch.arange(len(truth)).split(n), strict=True):
            trial.found.add("hole error", arm, error[rows], family)
            trial.found.add("seam", arm, seam[rows].double().abs(), family)
            trial.found.add("step at the edge", arm, seam[rows], family)
    columns["truth"] = truth
    shown = slice(None, None, max(1, n // 2))
    trial.section.pictures(
        {name: images[shown] for name, images in columns.items()},
        row_labels=[family for family in families for _ in range(n)][shown],
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
    full=Settings(24, tuple(FAMILIES), RePaint(steps=50, jump=5, resample=5)),
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
