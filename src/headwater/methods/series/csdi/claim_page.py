"""The page of CSDI's claim: filled windows first, then errors, calibration and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from headwater.data.series import Table
from headwater.methods.series.csdi.method import CSDI
from headwater.methods.series.csdi.quantile_tables import read_quantiles
from headwater.metrics.series import LEVELS
from headwater.metrics.statistics import summarize
from headwater.report import Estimate, Page, Section, Series

if TYPE_CHECKING:
    from headwater.methods.series.csdi.claim import Found

Numbers = dict[str, dict[str, dict[str, list[float]]]]


def show(
    page: Page,
    found: Found,
    ratios: Sequence[float],
    numbers: Numbers,
    measured: str,
    verdict: Literal["held", "partly", "not held"],
    origin: str,
) -> None:
    """Add the section. origin: a sentence about the networks."""
    section = page.section(
        "Gaps filled: CSDI",
        "Hours of Beijing's air that no network has seen, with cells hidden at random. The band is the "
        "central 90 % of the draws; it closes where a cell was given.",
    )
    for truth, filled, bands in found.shown:
        _window(section, truth, filled, bands)
    for name, words in (("mae", "Mean absolute error"), ("crps", "CRPS")):
        rows = [[arm, *(_cell(m[name][f"{r:g}"]) for r in ratios)] for arm, m in numbers.items()]
        columns = [f"{r:.0%} hidden" for r in ratios]
        section.table(
            ["filled by", *columns],
            rows,
            caption=f"{words} of hidden cells in training standard deviations, mean and spread over seeds. "
            "A point's CRPS is its absolute error.",
            best=dict.fromkeys(columns, "min"),
        )
    _calibration(section, found)
    section.note(f"{origin} Windows are {len(found.shown[0][0])} hours long; what lies outside, no arm sees.")
    section.claim(CSDI.paper.claim, measured, verdict)


def _window(section: Section, truth: Table, filled: dict[str, Table], bands: Table) -> None:
    """The first column of one window."""
    spread = read_quantiles(bands, filled["CSDI"])[:, :, 0]
    hours = (truth.times - truth.times[0]).tolist()
    lines = [
        Series("truth", hours, truth.values[:, 0].tolist()),
        *(
            Series(arm, hours, t.values[:, 0].tolist(), spread[0].tolist(), spread[-1].tolist())
            if arm == "CSDI"
            else Series(arm, hours, t.values[:, 0].tolist())
            for arm, t in filled.items()
        ),
    ]
    section.curve(
        lines, "hour", truth.columns[0], f"{truth.columns[0]} over {len(hours)} hours, {truth.name}"
    )


def _calibration(section: Section, found: Found) -> None:
    """Share of truths at or below each quantile."""
    lines = [Series("ideal", [0.0, 1.0], [0.0, 1.0])]
    for arm in ("CSDI", "unconditional"):
        cases = [c for seed in found.cases[arm] for c in seed]
        bands = np.concatenate([c.bands for c in cases], 1)
        y = np.concatenate([c.truth for c in cases])
        lines.append(Series(arm, list(LEVELS), (y <= bands).mean(1).tolist()))
    section.curve(lines, "level of the quantile", "share of truths below", "Calibration of the quantiles")


def _cell(values: list[float]) -> Estimate:
    found = summarize(values)
    return Estimate(found.mean, found.sd)
