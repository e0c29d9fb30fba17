"""Blocks that draw numbers: curves, histograms, heatmaps, each with its numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.report.blocks import Numbering, plain, scrolling
from headwater.report.chart import Axes, Series, curve_svg, histogram_svg, legend
from headwater.report.colour import diverging, reads_dark, sequential
from headwater.report.markup import decimals_for, number, text

# A longer listing would outweigh the page; the JSON holds every point.
_LISTED_POINTS = 60


@dataclass(frozen=True)
class Curve:
    series: Sequence[Series]
    axes: Axes = field(default_factory=Axes)
    caption: str = ""

    def body(self, numbering: Numbering) -> str:
        names = [s.name for s in self.series]
        title = f"{self.caption or 'Chart'}: {self.axes.y_label} against {self.axes.x_label}"
        drawing = curve_svg(self.series, self.axes, title)
        caption = numbering.figure(self.caption) if self.caption else ""
        return f'<figure class="plot">{legend(names)}{drawing}{caption}{self._listing()}</figure>'

    def thumbnail(self) -> str:
        drawing = curve_svg(self.series, Axes(), "").replace("<svg ", '<svg preserveAspectRatio="none" ')
        return f'<span class="thumbs plot">{drawing}</span>'

    def _listing(self) -> str:
        xs = sorted({float(x) for s in self.series for x in s.x})
        if not xs or len(xs) > _LISTED_POINTS:
            return ""
        lookup = [dict(zip(map(float, s.x), map(float, s.y), strict=True)) for s in self.series]
        rows = [[f"{x:g}", *(_or_blank(t.get(x)) for t in lookup)] for x in xs]
        return listing([self.axes.x_label or "x", *(s.name for s in self.series)], rows)

    def numbers(self) -> dict[str, Any]:
        return {
            "kind": "curve",
            "caption": self.caption,
            "x": self.axes.x_label,
            "y": self.axes.y_label,
            "series": [
                {
                    "name": s.name,
                    "x": plain([float(v) for v in s.x]),
                    "y": plain([float(v) for v in s.y]),
                    **({} if s.low is None else {"low": plain([float(v) for v in s.low])}),
                    **({} if s.high is None else {"high": plain([float(v) for v in s.high])}),
                }
                for s in self.series
            ],
        }


@dataclass(frozen=True)
class Histogram:
    """Counts (or shares) of each group in the bins between consecutive `edges`."""

    edges: Sequence[float]
    groups: Sequence[tuple[str, Sequence[float]]]
    axes: Axes
    caption: str = ""

    def body(self, numbering: Numbering) -> str:
        title = f"{self.caption or 'Histogram'}: {self.axes.x_label}"
        drawing = histogram_svg(self.edges, self.groups, self.axes, title)
        names = legend([name for name, _ in self.groups], "bar")
        caption = numbering.figure(self.caption) if self.caption else ""
        bins = zip(self.edges, self.edges[1:], strict=False)
        rows = [
            [f"{low:.4g} to {high:.4g}", *(_or_blank(counts[i]) for _, counts in self.groups)]
            for i, (low, high) in enumerate(bins)
        ]
        table = listing([self.axes.x_label or "bin", *(n for n, _ in self.groups)], rows)
        return f'<figure class="plot">{names}{drawing}{caption}{table}</figure>'

    def numbers(self) -> dict[str, Any]:
        return {
            "kind": "histogram",
            "caption": self.caption,
            "edges": list(self.edges),
            "groups": {name: list(counts) for name, counts in self.groups},
        }


@dataclass(frozen=True)
class Heatmap:
    """A matrix as coloured cells with their values: a real table, so it scrolls and reads aloud.

    Negative entries switch to the diverging colours, centred on zero.
    """

    matrix: Sequence[Sequence[float]]
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    caption: str = ""
    corner: str = ""
    decimals: int | None = None

    def __post_init__(self) -> None:
        if len(self.matrix) != len(self.row_labels) or any(
            len(row) != len(self.column_labels) for row in self.matrix
        ):
            raise ValueError("Give the heatmap one label per row and one per column.")

    def body(self, numbering: Numbering) -> str:
        values = [v for row in self.matrix for v in row if v == v]
        low, high = min(values, default=0.0), max(values, default=1.0)
        digits = decimals_for(values) if self.decimals is None else self.decimals
        if all(float(v).is_integer() for v in values):
            digits = 0
        head = "".join(f'<th scope="col">{text(c)}</th>' for c in self.column_labels)
        lines = []
        for label, row in zip(self.row_labels, self.matrix, strict=True):
            cells = "".join(_coloured(float(v), low, high, digits) for v in row)
            lines.append(f'<tr><th scope="row">{text(label)}</th>{cells}</tr>')
        table = (
            f'<table class="heat"><thead><tr><th scope="col">{text(self.corner)}</th>{head}</tr>'
            f"</thead><tbody>{''.join(lines)}</tbody></table>"
        )
        caption = numbering.figure(self.caption) if self.caption else ""
        return f'<figure class="table">{scrolling(table, self.caption)}{caption}</figure>'

    def numbers(self) -> dict[str, Any]:
        return {
            "kind": "heatmap",
            "caption": self.caption,
            "rows": list(self.row_labels),
            "columns": list(self.column_labels),
            "matrix": plain([[float(v) for v in row] for row in self.matrix]),
        }


def _coloured(value: float, low: float, high: float, digits: int | None) -> str:
    if value != value:
        return "<td>n/a</td>"
    if low < 0:
        limit = max(abs(low), abs(high))
        colour = diverging()[round((value / limit / 2 + 0.5) * 255)]
    else:
        colour = sequential()[round((value - low) / ((high - low) or 1.0) * 255)]
    ink = "#fff" if reads_dark(colour) else "#111"
    r, g, b = (int(c) for c in colour)
    return f'<td style="background:rgb({r},{g},{b});color:{ink}">{number(value, digits)}</td>'


def _or_blank(value: float | None) -> str:
    return "" if value is None else number(value)


def listing(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A folded table with the numbers behind a drawing."""
    head = "".join(f'<th scope="col">{text(h)}</th>' for h in header)
    body = "".join(
        f'<tr><th scope="row">{text(r[0])}</th>'
        + "".join(f'<td class="num">{text(c)}</td>' for c in r[1:])
        + "</tr>"
        for r in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<details><summary>The numbers</summary>{scrolling(table, 'The numbers')}</details>"
