"""Does a network that reads the given cells fill series better, and say how sure it is? (Tashiro et al. 2021)

Cells of held-out hours of Beijing's air are hidden in four ways (10, 50 and 90 % of the known cells at
random, and 12 hours of all columns at once) and filled in five. Both networks learn from days with cells and
runs of hours hidden, read dates and the logarithm of skewed columns, and draw by the same sampler.

Required, each beyond chance over windows, averaged over seeds: CSDI's CRPS lies below the unconditional
variant's and its MAE below that of the hour's mean, over all four; its MAE lies below that of straight lines
where these are not right already, at 90 % hidden and over 12 hours; and `INSIDE` contains the share of truths
within the 90 % intervals. Straight lines at 10 and 50 % are compared too, but decide nothing: between
neighbouring hours of weather they leave little to win. Whole numbers are blurred for the intervals, draws and
truth alike, within half a unit: an interval between whole numbers always covers more than it says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headwater.baselines.series import Climatology, column_mean, interpolated
from headwater.data import load
from headwater.data.gaps import Cells, hidden_cells, hide_cells, hide_rows, read_quantiles, spread_out
from headwater.data.series import Array, Table
from headwater.data.windows import Scale, spaced_windows
from headwater.experiments.comparison import Bound, Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI
from headwater.metrics.series import LEVELS, calibration, coverage, mae, pinball, quantiles
from headwater.noise import derive
from headwater.report import Section, Series
from headwater.training import TrainerConfig

COLUMNS = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws")
"""Those of `air` that vary all the time; `Is` and `Ir` count hours of snow and rain and are mostly 0."""
INSIDE = (0.85, 0.95)
"""Where the share of truths within the 90 % intervals must lie."""
WITHIN, MEDIAN = "truths in the 90 % interval", LEVELS.index(0.5)
OURS, UNCONDITIONAL, LINEAR, HOURLY = "CSDI", "unconditional", "linear interpolation", "hour of day"
HARD = "12 hours hidden"
"""The case in which a run of rows of all columns is hidden."""
SHIPPED = {OURS: "csdi-air-{seed}", UNCONDITIONAL: "csdi-air-{seed}-unconditional"}
"""Names of networks that `tools/train_csdi.py` trained; the seeds take the pairs in turn."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: CSDI
    windows: int
    """Test windows, evenly over the test years."""
    ratios: tuple[float, ...]
    """Shares of the known cells that are hidden; beside them half of the rows are, at once."""
    trainings: int
    """How many seeds train networks of their own where none ship; the others draw with the last ones."""
    shipped: bool = True
    """Whether networks that ship are taken."""


SMALL = CSDI(
    length=24, strategy="blocks", calendar=True, log=True, integers=True, samples=100, steps=15, bound=4.0,
    layers=2, channels=32, heads=4, step_dim=64, time_dim=32, feature_dim=8, dropout=0.0,
    training=TrainerConfig(4000, 16, 2e-3, warmup=30, decay="cosine"),
)  # fmt: skip
FULL = Settings(SMALL, 30, (0.1, 0.5, 0.9), 3)
_TINY = replace(
    SMALL, length=6, samples=3, steps=None, chain=Chain(3), layers=1, channels=8, heads=2, step_dim=8,
    time_dim=8, feature_dim=4, training=TrainerConfig(2, 4),
)  # fmt: skip


def air(split: str) -> Table:
    """One split of the shipped set, in the columns of this claim."""
    return load("air", split).select(COLUMNS)


def scores(bands: Array, truth: Array, hidden: Cells) -> dict[str, float]:
    """Of the `hidden` cells (L, K) of a window, in the units of the quantiles (19, L, K) and truth (L, K)."""
    return {"MAE": mae(bands[MEDIAN], truth, hidden), "CRPS": pinball(bands, truth, hidden)}


def cases(settings: Settings) -> dict[str, float | None]:
    """The ways in which cells are hidden: name -> share of the known cells, or none for half of the rows."""
    return {f"{ratio:.0%} hidden": ratio for ratio in settings.ratios} | {HARD: None}


def hide(window: Table, ratio: float | None, seed: int) -> Table:
    """A window with cells hidden in one of the ways."""
    if ratio is None:
        return hide_rows(window, len(window) // 2, seed)
    return hide_cells(window, ratio, seed)


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
    """Hide cells of every window in every way and fill them in five."""
    train, ways = trial.once("train", lambda: air("train")), cases(settings)
    scale, usual = Scale.of([train], integers=True), Climatology.of([train])
    windows = spaced_windows(air("test"), settings.method.length, settings.windows)
    truth, n = windows * len(ways), len(windows)
    given = [
        hide(window, ratio, derive(trial.seed, j, round(1000 * (ratio or 0))))
        for ratio in ways.values()
        for j, window in enumerate(windows)
    ]
    hidden = [hidden_cells(t, g) for t, g in zip(truth, given, strict=True)]
    blur = np.random.default_rng(derive(trial.seed, 1))

    def blurred(values: Array) -> Array:
        return values + np.where(scale.whole, blur.uniform(-0.5, 0.5, values.shape), 0.0)

    blurred_truth = [blurred(t.values) for t in truth]
    found: dict[str, list[Array]] = {}  # of each table the quantiles (19, L, K)
    drawn: dict[str, list[Array]] = {}  # those of blurred whole numbers
    for arm, (method, fitted) in networks(settings, trial).items():
        result = method.apply(given, fitted, **trial.run(225))
        pairs = zip(result.quantiles, result.filled, strict=True)
        found[arm] = [read_quantiles(q, f, LEVELS) for q, f in pairs]
        tables = zip(result.filled, given, result.samples, strict=True)
        drawn[arm] = [quantiles(blurred(spread_out(*of_one)), LEVELS) for of_one in tables]
    points = {
        LINEAR: [interpolated(g, scale.mean) for g in given],
        HOURLY: [usual.fill(g) for g in given],
        "column mean": [column_mean(g, scale.mean) for g in given],
    }
    for arm, tables in points.items():
        found[arm] = [np.repeat(f.values[None], len(LEVELS), 0) for f in tables]
    normal = [(t.values - scale.mean) / scale.std for t in truth]
    shares = trial.found.samples["shares below"] = {}
    for arm, tables in found.items():
        bands = [(q - scale.mean) / scale.std for q in tables]
        scored = [scores(*of_one) for of_one in zip(bands, normal, hidden, strict=True)]
        if arm in SHIPPED:
            edges = zip(drawn[arm], blurred_truth, hidden, scored, strict=True)
            for q, t, h, score in edges:
                score[WITHIN] = coverage(q[0], q[-1], t, h)
            all_cells = [np.concatenate(v, -2) for v in (drawn[arm], blurred_truth, hidden)]
            shares[arm] = calibration(*all_cells).tolist()
        for i, case in enumerate(ways):
            for name in scored[0]:
                trial.found.add(name, arm, [s[name] for s in scored[i * n : (i + 1) * n]], case)
    hours = list(range(settings.method.length))
    for i, k in enumerate((0, 2, 1)):
        at = n * list(ways).index(HARD) + i
        ours, line = (found[arm][at][:, :, k].tolist() for arm in (OURS, LINEAR))
        lines = [
            Series("truth", hours, windows[i].values[:, k].tolist()),
            Series(OURS, hours, ours[MEDIAN], ours[0], ours[-1]),
            Series(LINEAR, hours, line[MEDIAN]),
        ]
        trial.section.curve(lines, "hour", COLUMNS[k], f"{COLUMNS[k]} of window {i}, {HARD}")


def rule(results: Results[Settings]) -> list[Condition]:
    """Four comparisons and the calibration of the intervals; and lines where they are right already."""
    share, (*_, most, outage) = results.mean(WITHIN, OURS), cases(results.settings)
    lines = [
        results.compare(
            f"MAE against {LINEAR}, {case}",
            ("MAE", OURS, case),
            ("MAE", LINEAR, case),
            case in (most, outage),
        )
        for case in cases(results.settings)
    ]
    return [
        results.compare("CRPS against the unconditional variant", ("CRPS", OURS), ("CRPS", UNCONDITIONAL)),
        *lines,
        *results.against("MAE", OURS, HOURLY),
        Bound(f"90 % intervals hold {share:.1%} of the truths", INSIDE[0] <= share <= INSIDE[1], share),
    ]


def show(section: Section, results: Results[Settings]) -> None:
    """The calibration of the quantiles over all seeds."""
    lines = [Series("ideal", [0.0, 1.0], [0.0, 1.0])]
    for arm in SHIPPED:
        shares = [found[arm] for found in results.collect("shares below")]
        lines.append(Series(arm, list(LEVELS), np.mean(shares, 0).tolist()))
    section.curve(lines, "level of the quantile", "share of truths below", "Calibration of the quantiles")


CLAIM = Claim(
    "csdi",
    "Gaps filled: CSDI",
    "Hours of Beijing's air that no network was trained on, of which half was hidden. The band is the "
    "central 90 % of the draws; it closes where a cell was given.",
    unit="window",
    tiny=Settings(_TINY, 3, (0.2, 0.8), 1, shipped=False),
    quick=Settings(
        replace(SMALL, samples=50, training=replace(SMALL.training, steps=300)), 6, FULL.ratios, 1
    ),
    full=FULL,
    measures={
        "MAE": Measure("smaller", "Of hidden cells, in training standard deviations."),
        "CRPS": Measure("smaller", "Of hidden cells, in training standard deviations; a point's is its MAE."),
        WITHIN: Measure(None, "Share of hidden cells, whole numbers blurred."),
    },
    measure=measure,
    rule=rule,
    show=show,
)
