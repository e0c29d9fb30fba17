"""A section of a page: the calls that fill it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from headwater.report.axes import Kind
from headwater.report.blocks import (
    Best,
    Block,
    Claim,
    Note,
    Settings,
    Table,
    Text,
    Verdict,
)
from headwater.report.chart import Axes, Series
from headwater.report.figures import Curve, Heatmap, Histogram
from headwater.report.gallery import ContactSheet, PictureCell, Pictures
from headwater.report.picture import Cell, picture

Numbers = Sequence[float] | np.ndarray | Tensor


class Section:
    """Holds blocks in reading order; made by `Page.section`. All text is escaped."""

    def __init__(self, title: str, lead: str = "") -> None:
        self.title, self.lead = title, lead
        self.blocks: list[Block] = []

    def text(self, value: str) -> None:
        """Plain paragraphs; a blank line separates them."""
        self.blocks.append(Text(value))

    def note(self, value: str) -> None:
        """An aside: a caveat, a deviation from the paper, what to look for."""
        self.blocks.append(Note(value))

    def claim(self, paper: str, measured: str, verdict: Verdict | None, full: str = "") -> None:
        """The paper's claim beside what was measured; the verdict also shows in the header.

        full: what a larger run measured, where the verdict is that one's and not of this run.
        """
        self.blocks.append(Claim(paper, measured, verdict, full))

    def thumbnail(self) -> str:
        """HTML of a small picture of the section: the first row of its first pictures, else its first plot or
        the first row of its first table."""
        for kinds in ((Pictures, ContactSheet), (Curve, Table)):
            for block in self.blocks:
                if isinstance(block, kinds):
                    return block.thumbnail()
        return ""

    def settings(self, values: Mapping[str, object]) -> None:
        """Names and values; nested mappings become dotted names."""
        self.blocks.append(Settings(values))

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        caption: str = "",
        best: Mapping[str, Best] | None = None,
        decimals: Mapping[str, int] | None = None,
    ) -> None:
        """A table of text, ints, floats, `Estimate`s (mean ± sd) and `Share`s.

        `best` maps a column to "max" or "min": its best value is bold and the header says which
        way is better. Raises ValueError for rows of another length or unknown column names.
        """
        self.blocks.append(Table(header, rows, caption, best or {}, decimals or {}))

    def pictures(
        self,
        columns: Sequence[str] | Mapping[str, Sequence[Cell] | Tensor],
        rows: Sequence[Sequence[Cell]] = (),
        row_labels: Sequence[str] = (),
        captions: Sequence[Sequence[str]] | None = None,
        caption: str = "",
    ) -> None:
        """A grid of pictures: a column per stage, a row per sample. Give names and rows, or a mapping name ->
        the cells of that column.

        Cells are images (1|3,H,W) float in [-1, 1], bool masks, uint8 images, `Heat`, `Signed` or
        `Classes` maps, or None for an empty place. `captions` puts a line under each cell.
        Raises ValueError where rows, labels and columns do not fit each other.
        """
        if isinstance(columns, Mapping):
            columns, rows = list(columns), list(zip(*columns.values(), strict=True))
        if not columns or any(len(row) != len(columns) for row in rows):
            raise ValueError(f"Give every row of pictures {len(columns)} cells, one per column.")
        if row_labels and len(row_labels) != len(rows):
            raise ValueError(f"Give {len(rows)} row labels, one per row of pictures.")
        if captions is not None and [len(c) for c in captions] != [len(r) for r in rows]:
            raise ValueError("Give the captions in the same rows and columns as the pictures.")
        grid: list[list[PictureCell | None]] = []
        for i, row in enumerate(rows):
            name = row_labels[i] if row_labels else f"row {i + 1}"
            lines = captions[i] if captions is not None else [""] * len(row)
            grid.append(
                [
                    None if cell is None else PictureCell(picture(cell), f"{name}: {column}", line)
                    for cell, column, line in zip(row, columns, lines, strict=True)
                ]
            )
        self.blocks.append(Pictures(columns, grid, row_labels, caption))

    def contact_sheet(
        self,
        images: Tensor | Sequence[Cell],
        columns: int = 8,
        labels: Sequence[str] = (),
        caption: str = "",
    ) -> None:
        """Many pictures close together: a batch (N,1|3,H,W) in [-1, 1] or any cells."""
        cells = [c for c in images if c is not None]
        if columns < 1:
            raise ValueError("Give the contact sheet at least one column.")
        if labels and len(labels) != len(cells):
            raise ValueError(f"Give {len(cells)} labels, one per picture.")
        named = labels or [""] * len(cells)
        self.blocks.append(
            ContactSheet(
                [
                    PictureCell(picture(c), f"Picture {i + 1} {n}".strip(), n)
                    for i, (c, n) in enumerate(zip(cells, named, strict=True))
                ],
                columns,
                caption,
            )
        )

    def curve(
        self,
        series: Sequence[Series] | Mapping[str, tuple[Numbers, Numbers]],
        x: str = "",
        y: str = "",
        caption: str = "",
        x_axis: Kind = "linear",
        y_axis: Kind = "linear",
    ) -> None:
        """Lines: `Series` (which can carry bands), or a mapping name -> (x values, y values)."""
        if isinstance(series, Mapping):
            series = [Series(name, floats(a), floats(b)) for name, (a, b) in series.items()]
        else:
            series = [Series(s.name, floats(s.x), floats(s.y), _band(s.low), _band(s.high)) for s in series]
        self.blocks.append(Curve(series, Axes(x, y, x_axis, y_axis), caption))

    def histogram(
        self,
        groups: Mapping[str, Numbers],
        bins: int = 24,
        x: str = "",
        caption: str = "",
        unit: Literal["count", "share"] = "share",
    ) -> None:
        """Distributions of several groups over common bins; `share` makes group sizes comparable.

        Values that are not finite are left out.
        """
        samples = {n: np.asarray(floats(v), dtype=np.float64) for n, v in groups.items()}
        samples = {n: v[np.isfinite(v)] for n, v in samples.items()}
        pooled = np.concatenate([*samples.values(), np.empty(0)])
        if pooled.size == 0:
            raise ValueError("Give the histogram at least one finite value.")
        edges = np.histogram_bin_edges(pooled, bins)
        counts: list[tuple[str, Sequence[float]]] = []
        for name, values in samples.items():
            count = np.histogram(values, edges)[0].astype(np.float64)
            share = count / max(1, values.size) if unit == "share" else count
            counts.append((name, [float(v) for v in share]))
        label = "share of the group" if unit == "share" else "count"
        axes = Axes(x, label)
        self.blocks.append(Histogram([float(e) for e in edges], counts, axes, caption))

    def heatmap(
        self,
        matrix: Sequence[Sequence[float]] | np.ndarray | Tensor,
        row_labels: Sequence[str],
        column_labels: Sequence[str],
        caption: str = "",
        corner: str = "",
        decimals: int | None = None,
    ) -> None:
        """A matrix (R,C) as coloured cells with values; `corner` names what the labels mean."""
        rows = [floats(row) for row in matrix]
        self.blocks.append(Heatmap(rows, row_labels, column_labels, caption, corner, decimals))

    def numbers(self) -> dict[str, Any]:
        """The section without its pictures, as JSON-able objects."""
        blocks = [block.numbers() for block in self.blocks]
        return {"title": self.title, "lead": self.lead, "blocks": blocks}


def floats(values: Numbers) -> list[float]:
    """Any one-dimensional sequence of numbers as Python floats."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return [float(v) for v in values]


def _band(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else floats(values)
