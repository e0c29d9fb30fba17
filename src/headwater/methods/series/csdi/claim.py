"""Does a network that reads the given cells fill series better, and say how sure it is? (Tashiro et al. 2021)

Cells of held-out hours of Beijing's air are hidden and filled in five ways. Required: CSDI's CRPS lies below
the unconditional variant's, its MAE below those of linear interpolation and of the hour's mean, each beyond
chance over windows (averaged over shares of hidden cells and over seeds); and `INSIDE` contains the share of
truths within the 90 % intervals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from headwater.baselines.series import Climatology, column_mean, interpolated
from headwater.data import load
from headwater.data.series import Array, Table
from headwater.experiments.comparison import Bound, Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.series.csdi.data import Scale, hidden_cells, read_quantiles
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI
from headwater.metrics.series import LEVELS
from headwater.noise import derive
from headwater.report import Section, Series
from headwater.training import TrainerConfig

COLUMNS = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws")
"""Those of `air` that vary all the time; `Is` and `Ir` count hours of snow and rain and are mostly 0."""
INSIDE = (0.80, 0.97)
"""Where the share of truths within the 90 % intervals must lie."""
OURS, UNCONDITIONAL, LINEAR, HOURLY = "CSDI", "unconditional", "linear interpolation", "hour of day"
SHIPPED = {OURS: "csdi-air-{seed}", UNCONDITIONAL: "csdi-air-{seed}-unconditional"}
"""Names of networks that `tools/train_csdi.py` trained; the seeds take the pairs in turn."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: CSDI
    windows: int
    """Test windows, evenly over the test years."""
    ratios: tuple[float, ...]
    """Shares of the known cells that are hidden."""
    trainings: int
    """How many seeds train networks of their own where none ship; the others draw with the last ones."""
    shipped: bool = True
    """Whether networks that ship are taken."""


SMALL = CSDI(
    length=24, samples=19, bound=10.0, layers=2, channels=32, heads=4, step_dim=64, time_dim=32,
    feature_dim=8, dropout=0.0, training=TrainerConfig(4000, 16, 2e-3, warmup=30, decay="cosine"),
)  # fmt: skip
FULL = Settings(SMALL, 36, (0.1, 0.5, 0.9), 3)
_TINY = replace(
    SMALL, length=6, samples=3, chain=Chain(3), layers=1, channels=8, heads=2, step_dim=8, time_dim=8,
    feature_dim=4, training=TrainerConfig(2, 4),
)  # fmt: skip


def air(split: str) -> Table:
    """One split of the shipped set, in the columns of this claim."""
    whole = load("air", split)
    return whole.filled(whole.values[:, [whole.columns.index(c) for c in COLUMNS]], COLUMNS)


def held_out(test: Table, length: int, windows: int) -> list[Table]:
    """Windows evenly over the table, so far apart that they are independent."""
    starts = np.linspace(0, len(test) - length, windows).round().astype(int)
    return [replace(test.part(s, s + length), name=f"window {i}") for i, s in enumerate(starts.tolist())]


def hide(truth: Table, ratio: float, seed: int) -> Table:
    """Hide a share of the known cells, at least one and never all: a function of the arguments alone."""
    known = np.flatnonzero(np.isfinite(truth.values))
    hidden = min(max(1, round(ratio * len(known))), len(known) - 1)
    values = truth.values.copy()
    values.flat[np.random.default_rng(seed).permutation(known)[:hidden]] = np.nan
    return truth.filled(values)


def scores(truth: Array, point: Array, quantiles: Array) -> dict[str, float]:
    """Of the N hidden cells of a window, (N,), (N,) and (19, N), in training standard deviations."""
    levels = np.array(LEVELS)[:, None]
    pinball = (quantiles - truth) * ((truth <= quantiles) - levels)
    inside = (quantiles[0] <= truth) & (truth <= quantiles[-1])
    return {
        "MAE": float(np.abs(point - truth).mean()),
        "CRPS": float((2 * np.abs(pinball)).mean()),
        "truths in the 90 % interval": float(inside.mean()),
    }


def networks(settings: Settings, trial: Trial) -> dict[str, tuple[CSDI, FittedCSDI]]:
    """Both variants with their networks: what ships for this seed, or what is trained here."""
    variants = {OURS: settings.method, UNCONDITIONAL: replace(settings.method, given="pasted")}
    shipped = set(names("fitted")) if settings.shipped else set()
    pairs = sum({n.format(seed=i) for n in SHIPPED.values()} <= shipped for i in range(len(trial.seeds)))

    def network(arm: str, variant: CSDI) -> FittedCSDI:
        if pairs:
            return FittedCSDI.from_pretrained(SHIPPED[arm].format(seed=trial.index % pairs))
        return trial.train(arm, lambda run: variant.fit([air("train")], **run), settings.trainings)

    return {arm: (variant, network(arm, variant)) for arm, variant in variants.items()}


def measure(settings: Settings, trial: Trial) -> None:
    """Hide cells of every window at every ratio and fill them in five ways."""
    train = trial.once("train", lambda: air("train"))
    scale, usual = Scale.of([train]), Climatology.of([train])
    windows = held_out(air("test"), settings.method.length, settings.windows)
    places = [(ratio, j) for ratio in settings.ratios for j in range(len(windows))]
    truth = windows * len(settings.ratios)
    given = [hide(windows[j], ratio, derive(trial.seed, j, round(1000 * ratio))) for ratio, j in places]
    answers: dict[str, list[tuple[Array, Array]]] = {}  # of each table the filled cells and 19 quantiles
    for arm, (method, fitted) in networks(settings, trial).items():
        result = method.apply(given, fitted, **trial.run(64))
        pairs = zip(result.filled, result.quantiles, strict=True)
        answers[arm] = [(f.values, read_quantiles(q, f)) for f, q in pairs]
    points = {
        LINEAR: [interpolated(g, scale.mean) for g in given],
        HOURLY: [usual.fill(g) for g in given],
        "column mean": [column_mean(g, scale.mean) for g in given],
    }
    for arm, tables in points.items():
        answers[arm] = [(f.values, np.repeat(f.values[None], len(LEVELS), 0)) for f in tables]
    below: dict[str, list[NDArray[np.bool_]]] = {arm: [] for arm in SHIPPED}
    for arm, filled in answers.items():
        found: dict[tuple[str, float], list[float]] = {}
        for (ratio, _), t, g, answer in zip(places, truth, given, filled, strict=True):
            hidden = hidden_cells(t, g)
            y, point, bands = ((v - scale.mean) / scale.std for v in (t.values, *answer))
            for name, value in scores(y[hidden], point[hidden], bands[:, hidden]).items():
                found.setdefault((name, ratio), []).append(value)
            if arm in SHIPPED:
                below[arm].append((y[hidden] <= bands[:, hidden]).T)
        for (name, ratio), values in found.items():
            if arm in SHIPPED or name in ("MAE", "CRPS"):
                trial.found.add(name, arm, values, f"{ratio:.0%} hidden")
    trial.found.samples["below"] = {a: torch.from_numpy(np.concatenate(v)) for a, v in below.items()}
    middle = len(windows) * (len(settings.ratios) // 2)
    trial.found.samples["windows"] = [
        {"truth": truth[j].values[:, 0].tolist()}
        | {arm: answers[arm][j][0][:, 0].tolist() for arm in (OURS, LINEAR)}
        | {end: answers[OURS][j][1][k, :, 0].tolist() for end, k in (("low", 0), ("high", -1))}
        for j in range(middle, middle + min(3, len(windows)))
    ]


def rule(results: Results[Settings]) -> list[Condition]:
    """Three comparisons, and the calibration of the intervals."""
    share = results.mean("truths in the 90 % interval", OURS)
    return [
        results.compare("CRPS against the unconditional variant", ("CRPS", OURS), ("CRPS", UNCONDITIONAL)),
        *results.against("MAE", OURS, LINEAR, HOURLY),
        Bound(f"90 % intervals hold {share:.1%} of the truths", INSIDE[0] <= share <= INSIDE[1], share),
    ]


def show(section: Section, results: Results[Settings]) -> None:
    """The first column of three windows, and the calibration of the quantiles."""
    for i, window in enumerate(results.first["windows"]):
        hours = list(range(len(window["truth"])))
        lines = [
            Series("truth", hours, window["truth"]),
            Series(OURS, hours, window[OURS], window["low"], window["high"]),
            Series(LINEAR, hours, window[LINEAR]),
        ]
        section.curve(lines, "hour", COLUMNS[0], f"{COLUMNS[0]} over {len(hours)} hours, window {i}")
    lines = [Series("ideal", [0.0, 1.0], [0.0, 1.0])]
    for arm in SHIPPED:
        shares = torch.cat([below[arm] for below in results.collect("below")]).double().mean(0)
        lines.append(Series(arm, list(LEVELS), shares.tolist()))
    section.curve(lines, "level of the quantile", "share of truths below", "Calibration of the quantiles")


CLAIM = Claim(
    "csdi",
    "Gaps filled: CSDI",
    "Hours of Beijing's air that no network was trained on, with cells hidden at random. The band is the "
    "central 90 % of the draws; it closes where a cell was given.",
    unit="window",
    tiny=Settings(_TINY, 3, (0.2, 0.8), 1, shipped=False),
    quick=Settings(replace(SMALL, training=replace(SMALL.training, steps=300)), 6, FULL.ratios, 1),
    full=FULL,
    measures={
        "MAE": Measure("smaller", "Of hidden cells, in training standard deviations."),
        "CRPS": Measure("smaller", "Of hidden cells, in training standard deviations; a point's is its MAE."),
        "truths in the 90 % interval": Measure(None, "Share of hidden cells."),
    },
    measure=measure,
    rule=rule,
    show=show,
)
