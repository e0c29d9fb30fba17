"""Does a network that sees the given cells fill series better, and say how sure it is? (Tashiro 2021)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headwater.baselines.series import Climatology, column_mean, interpolated
from headwater.data import load
from headwater.data.series import Array, Table
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import Comparison, compare, verdict
from headwater.gallery import names
from headwater.methods.series.csdi.claim_page import show
from headwater.methods.series.csdi.fitted import FittedCSDI
from headwater.methods.series.csdi.method import CSDI
from headwater.methods.series.csdi.quantile_tables import Imputation, hidden_cells, read_quantiles
from headwater.methods.series.csdi.windows import Scale
from headwater.metrics.series import LEVELS
from headwater.noise import derive
from headwater.sampling import Run
from headwater.training import TrainerConfig

COLUMNS = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws")
"""Those of `air` that vary all the time; `Is` and `Ir` count hours of snow and rain and are mostly 0."""
INSIDE = (0.80, 0.97)
"""Where the share of truths within the 90 % intervals must lie."""


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    method: CSDI
    windows: int
    """Test windows, evenly over the test years."""
    ratios: tuple[float, ...]
    """Shares of the known cells that are hidden."""
    trainings: int
    """How many seeds train networks of their own where none ship; the others draw with the last ones."""


_SMALL = CSDI(
    length=24, samples=19, bound=10.0, layers=2, channels=32, heads=4, step_dim=64, time_dim=32,
    feature_dim=8, dropout=0.0, training=TrainerConfig(4000, 16, 2e-3, warmup=30, decay="cosine"),
)  # fmt: skip
QUICK = Setting(replace(_SMALL, training=replace(_SMALL.training, steps=300)), 6, (0.1, 0.5, 0.9), 1)
FULL = Setting(_SMALL, 36, (0.1, 0.5, 0.9), 3)
SHIPPED = "csdi-air-{seed}", "csdi-air-{seed}-unconditional"
"""Names of networks that `tools/train_csdi.py` trained; the seeds take the pairs in turn."""

PROBABILISTIC = ("CSDI", "unconditional")
POINTS = ("linear interpolation", "hour of day", "column mean")


@dataclass(frozen=True)
class Case:
    """One filled window of one arm: per hidden cell the truth, estimate and quantiles, in deviations."""

    ratio: float
    truth: Array
    point: Array
    bands: Array
    """(19, N); those of a point forecast are the point."""

    @property
    def mae(self) -> float:
        return float(np.abs(self.point - self.truth).mean())

    @property
    def crps(self) -> float:
        """Mean over cells and levels of twice the pinball loss: CRPS in training deviations."""
        levels = np.array(LEVELS)[:, None]
        return float((2 * np.abs((self.bands - self.truth) * ((self.truth <= self.bands) - levels))).mean())

    @property
    def inside(self) -> float:
        """Share of truths within the 90 % interval."""
        return float(((self.bands[0] <= self.truth) & (self.truth <= self.bands[-1])).mean())


@dataclass(frozen=True)
class Found:
    """Everything measured: arm -> seed -> cases, windows in order within each ratio; and what to draw."""

    cases: dict[str, list[list[Case]]]
    shown: list[tuple[Table, dict[str, Table], Table]]
    """Truth, filled by arm, quantiles of CSDI."""

    def units(self, arm: str, measure: Callable[[Case], float], ratio: float | None = None) -> Array:
        """(seeds, windows): the mean over ratios, or one ratio's."""
        rows = [[measure(c) for c in cases if ratio in (None, c.ratio)] for cases in self.cases[arm]]
        windows = sum(c.ratio == self.cases[arm][0][0].ratio for c in self.cases[arm][0])
        return np.array(rows).reshape(len(rows), -1, windows).mean(1)


def air(split: str) -> Table:
    """One split of the shipped set, in the columns of this claim."""
    whole = load("air", split)
    place = [whole.columns.index(c) for c in COLUMNS]
    return whole.filled(whole.values[:, place], COLUMNS)


def held_out(test: Table, length: int, count: int) -> list[Table]:
    """`count` windows evenly over the table, so far apart that they are independent."""
    starts = np.linspace(0, len(test) - length, count).round().astype(int)
    return [replace(test.part(s, s + length), name=f"window {i}") for i, s in enumerate(starts.tolist())]


def hide(truth: Table, ratio: float, seed: int) -> Table:
    """Hide a share of the known cells, at least one and never all: a function of the arguments alone."""
    known = np.flatnonzero(np.isfinite(truth.values))
    count = min(max(1, round(ratio * len(known))), len(known) - 1)
    values = truth.values.copy()
    values.flat[np.random.default_rng(seed).permutation(known)[:count]] = np.nan
    return truth.filled(values)


def reproduce(task: Task) -> Outcome:
    """Hide cells of held-out hours of Beijing's air and fill them in five ways.

    Required: CSDI's CRPS below the unconditional variant's, its MAE below those of linear interpolation and
    of the hour's mean, each beyond chance over windows; and `INSIDE` contains the share of truths within
    the 90 % intervals.
    """
    setting = QUICK if task.effort == "quick" else FULL
    found = measure(setting, air("train"), air("test"), task)
    required = comparisons(found)
    share = float(np.mean([c.inside for cases in found.cases["CSDI"] for c in cases]))
    answer = verdict([*required, INSIDE[0] <= share <= INSIDE[1]])
    measured = "; ".join(str(c) for c in required) + f"; 90 % intervals hold {share:.1%} of the truths"
    numbers = summary(found, setting.ratios)
    show(task.page, found, setting.ratios, numbers, measured, answer, _origin(setting))
    return Outcome(
        "csdi",
        CSDI.paper.claim,
        measured,
        answer,
        {"comparisons": {c.what: c.to_dict() for c in required}, "coverage90": share, "arms": numbers},
        {"effort": task.effort, "seeds": list(task.seeds), "trainings": shipped_pairs() or setting.trainings},
    )


def measure(setting: Setting, train: Table, test: Table, task: Task) -> Found:
    """Train the two variants and fill every window at every ratio, per seed, in all five ways."""
    method, scale, usual = setting.method, Scale.of([train]), Climatology.of([train])
    variants = {"CSDI": method, "unconditional": replace(method, given="pasted")}
    windows = held_out(test, method.length, setting.windows)
    cases: dict[str, list[list[Case]]] = {arm: [] for arm in (*PROBABILISTIC, *POINTS)}
    shown = []
    fitted: dict[str, FittedCSDI] = {}
    for i, seed in enumerate(task.seeds):
        run = task.run(seed, batch=64)
        fitted = _networks(i, variants, train, fitted, setting.trainings, run)
        truth = windows * len(setting.ratios)
        keys = [(ratio, j) for ratio in setting.ratios for j in range(len(windows))]
        given = [
            hide(t, ratio, derive(seed, j, round(1000 * ratio)))
            for t, (ratio, j) in zip(truth, keys, strict=True)
        ]
        filled = {arm: variant.apply(given, fitted[arm], **run) for arm, variant in variants.items()}
        points = {
            "linear interpolation": [interpolated(g, scale.mean) for g in given],
            "hour of day": [usual.fill(g) for g in given],
            "column mean": [column_mean(g, scale.mean) for g in given],
        }
        ratios = [ratio for ratio, _ in keys]
        for arm, result in filled.items():
            cases[arm].append(_cases(truth, given, ratios, result.filled, _bands(result), scale))
        for arm, tables in points.items():
            repeated = [np.repeat(t.values[None], len(LEVELS), 0) for t in tables]
            cases[arm].append(_cases(truth, given, ratios, tables, repeated, scale))
        if i == 0:
            every = {"CSDI": filled["CSDI"].filled, "linear interpolation": points["linear interpolation"]}
            middle = setting.ratios.index(sorted(setting.ratios)[len(setting.ratios) // 2]) * len(windows)
            for j in range(middle, middle + min(3, len(windows))):
                arms = {arm: tables[j] for arm, tables in every.items()}
                shown.append((truth[j], arms, filled["CSDI"].quantiles[j]))
    return Found(cases, shown)


def _networks(
    i: int,
    variants: dict[str, CSDI],
    train: Table,
    before: dict[str, FittedCSDI],
    trainings: int,
    run: Run,
) -> dict[str, FittedCSDI]:
    """The networks of seed number i: shipped ones, or trained in this run, or those of the seed before."""
    count = shipped_pairs()
    if count:
        named = (name.format(seed=i % count) for name in SHIPPED)
        return {arm: FittedCSDI.from_pretrained(name) for arm, name in zip(variants, named, strict=True)}
    if i >= trainings:
        return before
    return {arm: variant.fit([train], **run.child(arm)) for arm, variant in variants.items()}


def _origin(setting: Setting) -> str:
    count = shipped_pairs()
    if count:
        pairs = "One pair" if count == 1 else f"{count} pairs"
        return f"{pairs} of networks of the package; masks and draws are new for each seed."
    steps = setting.method.training.steps
    return f"{setting.trainings} of the seeds trained their two networks here, in {steps} steps."


def shipped_pairs() -> int:
    """How many pairs of networks come with the package."""
    found, count = names("fitted"), 0
    while all(name.format(seed=count) in found for name in SHIPPED):
        count += 1
    return count


def _bands(result: Imputation) -> list[Array]:
    return [read_quantiles(q, t) for q, t in zip(result.quantiles, result.filled, strict=True)]


def _cases(
    truth: Sequence[Table],
    given: Sequence[Table],
    ratios: Sequence[float],
    filled: Sequence[Table],
    bands: Sequence[Array],
    scale: Scale,
) -> list[Case]:
    found = []
    for t, g, ratio, f, b in zip(truth, given, ratios, filled, bands, strict=True):
        hidden = hidden_cells(t, g)
        y, point, spread = ((v - scale.mean) / scale.std for v in (t.values, f.values, b))
        found.append(Case(ratio, y[hidden], point[hidden], spread[:, hidden]))
    return found


def comparisons(found: Found) -> list[Comparison]:
    """What the claim requires, per window, over ratios and seeds."""
    ours = found.units("CSDI", lambda c: c.mae)
    made = [
        compare(
            "CRPS against the unconditional variant",
            found.units("CSDI", lambda c: c.crps),
            found.units("unconditional", lambda c: c.crps),
            "smaller",
            "window",
        )
    ]
    for arm in ("linear interpolation", "hour of day"):
        other = found.units(arm, lambda c: c.mae)
        made.append(compare(f"MAE against {arm}", ours, other, "smaller", "window"))
    return made


def summary(found: Found, ratios: Sequence[float]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Arm -> measure -> ratio -> one number per seed."""
    measures: dict[str, Callable[[Case], float]] = {
        "mae": lambda c: c.mae,
        "crps": lambda c: c.crps,
        "coverage90": lambda c: c.inside,
    }
    return {
        arm: {
            name: {f"{r:g}": found.units(arm, what, r).mean(1).tolist() for r in ratios}
            for name, what in measures.items()
            if arm in PROBABILISTIC or name != "coverage90"
        }
        for arm in found.cases
    }
