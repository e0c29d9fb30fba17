"""Does a network that reads the given cells fill series better, and say how sure it is? (Tashiro et al. 2021)

Cells of held-out hours of Beijing's air are hidden and filled in five ways. Required: CSDI's CRPS lies below
the unconditional variant's, its MAE below those of linear interpolation and of the hour's mean, each beyond
chance over windows (averaged over shares of hidden cells and over seeds); and `INSIDE` contains the share of
truths within the 90 % intervals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headwater.baselines.series import Climatology, column_mean, interpolated
from headwater.data import load
from headwater.data.gaps import Cells, hidden_cells, hide_cells, read_quantiles
from headwater.data.series import Array, Table
from headwater.data.windows import Scale, spaced_windows
from headwater.experiments.comparison import Bound, Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI
from headwater.metrics.series import LEVELS, calibration, coverage, mae, pinball
from headwater.noise import derive
from headwater.report import Section, Series
from headwater.training import TrainerConfig

COLUMNS = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws")
"""Those of `air` that vary all the time; `Is` and `Ir` count hours of snow and rain and are mostly 0."""
INSIDE = (0.80, 0.97)
"""Where the share of truths within the 90 % intervals must lie."""
WITHIN, MEDIAN = "truths in the 90 % interval", LEVELS.index(0.5)
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
    length=24, samples=19, sampler="ancestral", bound=10.0, layers=2, channels=32, heads=4, step_dim=64,
    time_dim=32, feature_dim=8, dropout=0.0,
    training=TrainerConfig(4000, 16, 2e-3, warmup=30, decay="cosine"),
)  # fmt: skip
FULL = Settings(SMALL, 36, (0.1, 0.5, 0.9), 3)
_TINY = replace(
    SMALL, length=6, samples=3, chain=Chain(3), layers=1, channels=8, heads=2, step_dim=8, time_dim=8,
    feature_dim=4, training=TrainerConfig(2, 4),
)  # fmt: skip


def air(split: str) -> Table:
    """One split of the shipped set, in the columns of this claim."""
    return load("air", split).select(COLUMNS)


def scores(quantiles: Array, truth: Array, hidden: Cells) -> dict[str, float]:
    """Of the `hidden` cells (L, K) of a window, in the units of quantiles (19, L, K) and truth (L, K)."""
    return {
        "MAE": mae(quantiles[MEDIAN], truth, hidden),
        "CRPS": pinball(quantiles, truth, hidden),
        WITHIN: coverage(quantiles[0], quantiles[-1], truth, hidden),
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
    train, ratios = trial.once("train", lambda: air("train")), settings.ratios
    scale, usual = Scale.of([train]), Climatology.of([train])
    windows = spaced_windows(air("test"), settings.method.length, settings.windows)
    truth = windows * len(ratios)
    given = [
        hide_cells(window, ratio, derive(trial.seed, j, round(1000 * ratio)))
        for ratio in ratios
        for j, window in enumerate(windows)
    ]
    hidden = [hidden_cells(t, g) for t, g in zip(truth, given, strict=True)]
    found: dict[str, list[Array]] = {}  # of each table the quantiles (19, L, K)
    for arm, (method, fitted) in networks(settings, trial).items():
        result = method.apply(given, fitted, **trial.run(64))
        pairs = zip(result.quantiles, result.filled, strict=True)
        found[arm] = [read_quantiles(q, f, LEVELS) for q, f in pairs]
    points = {
        LINEAR: [interpolated(g, scale.mean) for g in given],
        HOURLY: [usual.fill(g) for g in given],
        "column mean": [column_mean(g, scale.mean) for g in given],
    }
    for arm, tables in points.items():
        found[arm] = [np.repeat(f.values[None], len(LEVELS), 0) for f in tables]
    normal, n = [(t.values - scale.mean) / scale.std for t in truth], len(windows)
    shares = trial.found.samples["shares below"] = {}
    for arm, quantiles in found.items():
        bands = [(q - scale.mean) / scale.std for q in quantiles]
        scored = [scores(*of_one) for of_one in zip(bands, normal, hidden, strict=True)]
        for name in ("MAE", "CRPS", WITHIN) if arm in SHIPPED else ("MAE", "CRPS"):
            for i, ratio in enumerate(ratios):
                values = [s[name] for s in scored[i * n : (i + 1) * n]]
                trial.found.add(name, arm, values, f"{ratio:.0%} hidden")
        if arm in SHIPPED:
            all_cells = np.concatenate(bands, 1), np.concatenate(normal), np.concatenate(hidden)
            shares[arm] = calibration(*all_cells).tolist()
    hours = list(range(settings.method.length))
    for i, window in enumerate(windows[:3]):
        ours, line = (found[arm][n * (len(ratios) // 2) + i][:, :, 0].tolist() for arm in (OURS, LINEAR))
        lines = [
            Series("truth", hours, window.values[:, 0].tolist()),
            Series(OURS, hours, ours[MEDIAN], ours[0], ours[-1]),
            Series(LINEAR, hours, line[MEDIAN]),
        ]
        what = f"{COLUMNS[0]} over {len(hours)} hours, window {i}"
        trial.section.curve(lines, "hour", COLUMNS[0], what)


def rule(results: Results[Settings]) -> list[Condition]:
    """Three comparisons, and the calibration of the intervals."""
    share = results.mean(WITHIN, OURS)
    return [
        results.compare("CRPS against the unconditional variant", ("CRPS", OURS), ("CRPS", UNCONDITIONAL)),
        *results.against("MAE", OURS, LINEAR, HOURLY),
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
    "Hours of Beijing's air that no network was trained on, with cells hidden at random. The band is the "
    "central 90 % of the draws; it closes where a cell was given.",
    unit="window",
    tiny=Settings(_TINY, 3, (0.2, 0.8), 1, shipped=False),
    quick=Settings(replace(SMALL, training=replace(SMALL.training, steps=300)), 6, FULL.ratios, 1),
    full=FULL,
    measures={
        "MAE": Measure("smaller", "Of hidden cells, in training standard deviations."),
        "CRPS": Measure("smaller", "Of hidden cells, in training standard deviations; a point's is its MAE."),
        WITHIN: Measure(None, "Share of hidden cells."),
    },
    measure=measure,
    rule=rule,
    show=show,
)
