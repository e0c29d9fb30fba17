"""What GLIDE's claim shows: drawings by scale, the trade-off, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headwater.experiments.comparison import Comparison
from headwater.metrics.statistics import bootstrap_interval
from headwater.report import Page, Series
from headwater.report.section import Section

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Captions of one kind, and what was drawn for them."""

    title: str
    texts: list[str]
    found: Mapping[float, Mapping[str, Values]]
    """scale -> measure -> (seeds, captions)."""
    shown: Mapping[float, Tensor]
    """scale -> drawings of the first seed, (captions, times, C, H, W)."""
    real: list[Tensor]


def show(
    page: Page,
    groups: Sequence[Group],
    required: Sequence[Comparison],
    reference: float,
    seeds: Sequence[int],
    judge: int,
    steps: str,
) -> None:
    """Fill a section: pictures first."""
    section = page.section(
        "Pictures from captions: GLIDE",
        "The same noise at each scale of classifier-free guidance. Scale 0 draws without the caption, 1 with "
        "it, above 1 away from what would be drawn without it. Rows were picked at random.",
    )
    for group in groups:
        _grid(section, group)
    _curves(section, groups)
    _table(section, groups)
    for comparison in required:
        section.text(str(comparison))
    section.note(
        "Retrieval is judged by a small dual encoder trained in this run on all emoji, held-out ones "
        f"included: among 32 names it finds that of {reference:.0%} of the real held-out pictures. It knows "
        "these pictures, the generator does not. Drawings are repeated over the seeds; the trainings of "
        "generator and judge are not. Guidance can please a judge without pleasing people: look at the "
        "pictures."
    )
    section.settings({"seeds": list(seeds), "steps": steps, "steps of the judge's training": judge})


def _grid(section: Section, group: Group) -> None:
    scales = list(group.shown)
    count = min(8, len(group.texts))
    rows = [[group.real[i], *(group.shown[s][i, 0] for s in scales)] for i in range(count)]
    section.pictures(
        ["real", *(f"scale {s:g}" for s in scales)],
        rows,
        row_labels=group.texts[:count],
        caption=f"{group.title.capitalize()}. One drawing each, first seed.",
    )


def _curves(section: Section, groups: Sequence[Group]) -> None:
    lines, trade = [], []
    for group in groups:
        scales = [s for s in group.found if s > 0]
        for measure in ("retrieval", "variety"):
            values = [group.found[s][measure].mean(0) for s in scales]
            bands = [bootstrap_interval(v, seed=0) for v in values]
            low, high = zip(*bands, strict=True)
            means = [float(v.mean()) for v in values]
            lines.append(Series(f"{measure}, {group.title}", scales, means, list(low), list(high)))
        of = [[float(group.found[s][m].mean()) for s in scales] for m in ("variety", "retrieval")]
        trade.append(Series(group.title, of[0], of[1]))
    section.curve(lines, "scale of the guidance", "share or distance", "Bands: 95 %, over captions.")
    section.curve(
        trade, "variety: distance of two drawings of one caption", "retrieval among 32 names",
        "The trade: each line runs from scale 1 (right) to the largest scale.",
    )  # fmt: skip


def _table(section: Section, groups: Sequence[Group]) -> None:
    measures = list(next(iter(groups[0].found.values())))
    rows = [
        [group.title, float(scale), *(float(of[m].mean()) for m in measures)]
        for group in groups
        for scale, of in group.found.items()
    ]
    section.table(["captions", "scale", *measures], rows, "Means over captions, drawings and seeds.")
