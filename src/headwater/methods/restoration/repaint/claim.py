"""Does walking back and forth fill holes better, also at equal cost? (Lugmayr et al. 2022, sec. 5)"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.core.timesteps import network_calls
from headwater.data import load
from headwater.data.holes import FAMILIES, known_pixels
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import compare, verdict
from headwater.methods.restoration.repaint.method import RePaint
from headwater.metrics.image import border_continuity
from headwater.metrics.statistics import summarize
from headwater.models import Prior
from headwater.report import Estimate


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    pictures: int
    """Test pictures per seed and mask family."""
    families: tuple[str, ...]
    method: RePaint


QUICK = Setting(6, ("wide", "half", "expand"), RePaint(steps=25, jump=5, resample=5))
FULL = Setting(24, tuple(FAMILIES), RePaint(steps=50, jump=5, resample=5))
"""The paper's proportions (a climb of some per cent, walked several times) for a small prior."""


def arms(method: RePaint, T: int) -> dict[str, RePaint]:
    """Plain walk, resampling, and a plain walk with as many network calls."""
    calls = network_calls(method.plan(T))
    return {
        "plain": replace(method, resample=1),
        "more steps": replace(method, resample=1, steps=min(calls, T)),
        "RePaint": method,
    }


def hole_error(filled: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean squared error over the hole of each picture, (B,)."""
    hole = (~known).expand_as(truth)
    return ((filled - truth).square() * hole).flatten(1).sum(1) / hole.flatten(1).sum(1)


def reproduce(task: Task) -> Outcome:
    """Run the arms on held-out digits and report the two numbers of the claim: hole error and seam."""
    setting = QUICK if task.effort == "quick" else FULL
    prior = Prior.from_pretrained("digits")
    pictures = load("digits", "test").images
    walks = arms(setting.method, prior.process.T)
    calls = {name: network_calls(walk.plan(prior.process.T)) for name, walk in walks.items()}
    errors = {name: {f: [] for f in setting.families} for name in walks}
    seams = {name: {f: [] for f in setting.families} for name in walks}
    rows: dict[str, list[list[Tensor]]] = {f: [] for f in setting.families}
    for seed in task.seeds:
        order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
        truth = pictures[order[: setting.pictures]]
        known = torch.cat(
            [known_pixels(f, len(truth), *truth.shape[-2:], seed=seed) for f in setting.families]
        )
        truth = truth.repeat(len(setting.families), 1, 1, 1)
        filled = {
            name: walk.apply(prior, truth, known, seed=seed, batch_size=16, progress=task.progress)
            for name, walk in walks.items()
        }
        for i, family in enumerate(setting.families):
            part = slice(i * setting.pictures, (i + 1) * setting.pictures)
            for name, result in filled.items():
                errors[name][family] += hole_error(result[part], truth[part], known[part]).tolist()
                seam = border_continuity(result[part], truth[part], known[part])
                seams[name][family] += seam.tolist()
            for j in range(part.start, min(part.start + 2, part.stop)):
                shown = truth[j].where(known[j], torch.zeros(()))
                rows[family].append([shown, *(filled[name][j] for name in walks), truth[j]])
    return _report(task, setting, calls, errors, seams, rows)


def _flat(values: dict[str, list[float]]) -> Tensor:
    """All pictures of an arm, family after family."""
    return torch.tensor([v for per_family in values.values() for v in per_family], dtype=torch.float64)


def _sizes(values: dict[str, list[float]]) -> Tensor:
    """Absolute values, (families, pictures): every family hides parts of the same pictures."""
    return torch.tensor(list(values.values()), dtype=torch.float64).abs()


def _report(
    task: Task,
    setting: Setting,
    calls: dict[str, int],
    errors: dict[str, dict[str, list[float]]],
    seams: dict[str, dict[str, list[float]]],
    rows: dict[str, list[list[Tensor]]],
) -> Outcome:
    comparisons = [
        compare(
            f"{measure} against {arm}", _sizes(values["RePaint"]), _sizes(values[arm]), "smaller", "picture"
        )
        for measure, values in (("hole error", errors), ("seam", seams))
        for arm in ("plain", "more steps")
    ]
    found = verdict(comparisons)
    measured = "better by " + "; ".join(map(str, comparisons))
    section = task.page.section(
        "Holes filled: RePaint",
        "Held-out digits with a part hidden (grey), filled by the same prior in three ways.",
    )
    names = list(errors)
    header = ["given", *(f"{n}, {calls[n]} calls" for n in names), "truth"]
    for family, pictures in rows.items():
        section.pictures(header, pictures[:3], caption=f"Mask family: {family}")
    table = [
        [family, *(_cell(values[n][family]) for values in (errors, seams) for n in names)]
        for family in setting.families
    ]
    table.append(["all", *(_cell(_flat(v[n]).tolist()) for v in (errors, seams) for n in names)])
    section.table(
        ["mask", *(f"{m}, {n}" for m in ("hole error", "seam") for n in names)],
        table,
        caption="Mean and standard deviation over pictures and seeds. Hole error: mean squared, pictures in "
        "[-1, 1]. Seam: step across the edge of the hole minus that of the truth; 0 is seamless.",
    )
    section.settings(
        {
            "steps": setting.method.steps,
            "jump": setting.method.jump,
            "resample": setting.method.resample,
            "pictures per seed and family": setting.pictures,
            "seeds": list(task.seeds),
            "prior": "digits",
        }
    )
    section.claim(RePaint.paper.claim, measured, found)
    return Outcome(
        "repaint",
        RePaint.paper.claim,
        measured,
        found,
        {
            "calls": calls,
            "gain": {c.what: c.to_dict() for c in comparisons},
            "hole_error": {n: {f: summarize(v).mean for f, v in e.items()} for n, e in errors.items()},
            "seam": {n: {f: summarize(v).mean for f, v in e.items()} for n, e in seams.items()},
        },
        {"effort": task.effort, "seeds": list(task.seeds)},
    )


def _cell(values: list[float]) -> Estimate:
    summary = summarize(values)
    return Estimate(summary.mean, summary.sd)
