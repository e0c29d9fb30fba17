"""Curves and histograms as inline SVG that follow the page's light or dark colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from headwater.report.axes import Kind, Scale, extent, tick_label
from headwater.report.markup import text

# Line styles besides colour: readers who cannot tell colours apart, and black-and-white print.
_DASHES = ("", "7 4", "2 4", "10 4 2 4", "4 2", "1 3", "12 3", "6 2 2 2")


@dataclass(frozen=True)
class Series:
    """One line: `y` against `x`, optionally with a band from `low` to `high` (all equally long).

    Values that are not finite leave a gap in the line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None

    def __post_init__(self) -> None:
        lengths = {len(v) for v in (self.x, self.y, self.low, self.high) if v is not None}
        if len(lengths) != 1:
            raise ValueError(f"Give series {self.name!r} x, y, low and high of one length.")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"Give series {self.name!r} both low and high, or neither.")


@dataclass(frozen=True)
class Axes:
    """Axis names and scales of a chart."""

    x_label: str = ""
    y_label: str = ""
    x_kind: Kind = "linear"
    y_kind: Kind = "linear"


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    name: str
    x_ticks: int
    y_ticks: int

    left: int = 58
    right: int = 16
    top: int = 14
    bottom: int = 48


# Two drawings, one shown at a time: text scaled down with one wide drawing is unreadable on phones.
_FRAMES = (_Frame(720, 340, "wide", 8, 6), _Frame(360, 280, "narrow", 4, 5))


def curve_svg(series: Sequence[Series], axes: Axes, title: str) -> str:
    """Lines with optional bands (SVG, wide and narrow)."""
    ys = [v for s in series for part in (s.y, s.low or (), s.high or ()) for v in part]
    x_range = extent([v for s in series for v in s.x], axes.x_kind, margin=0.0)
    if x_range[0] == x_range[1]:
        x_range = extent([x_range[0]], axes.x_kind)
    y_range = extent(ys, axes.y_kind)

    def draw(x: Scale, y: Scale) -> Iterator[str]:
        for i, s in enumerate(series):
            if s.low is not None and s.high is not None:
                yield _band(s, x, y, i)
        for i, s in enumerate(series):
            yield _line(s, x, y, i)

    return _drawings(x_range, y_range, axes, title, draw)


def histogram_svg(
    edges: Sequence[float], counts: Sequence[tuple[str, Sequence[float]]], axes: Axes, title: str
) -> str:
    """Overlaid bars of `counts` (name, one value per bin) between consecutive `edges`."""
    tallest = max((v for _, values in counts for v in values), default=1.0) or 1.0

    def draw(x: Scale, y: Scale) -> Iterator[str]:
        base = y(0.0)
        for i, (_, values) in enumerate(counts):
            outline = [f"M{x(edges[0]):.1f} {base:.1f}"]
            for left, right, v in zip(edges, edges[1:], values, strict=False):
                outline.append(f"L{x(left):.1f} {y(v):.1f}L{x(right):.1f} {y(v):.1f}")
            path = "".join(outline) + f"L{x(edges[-1]):.1f} {base:.1f}Z"
            dash = f' stroke-dasharray="{_DASHES[i % 8]}"' if i else ""
            yield f'<path class="bar s{i % 8}" d="{path}"{dash}/>'

    return _drawings((edges[0], edges[-1]), (0.0, tallest * 1.06), axes, title, draw)


def legend(names: Sequence[str], kind: str = "line") -> str:
    """Swatches that show colour and dash of each series; nothing for a single unnamed one."""
    if len(names) == 1 and not names[0]:
        return ""
    items = []
    for i, name in enumerate(names):
        dash = f' stroke-dasharray="{_DASHES[i % 8]}"' if i and _DASHES[i % 8] else ""
        if kind == "bar":
            mark = f'<rect class="bar s{i % 8}" x="1" y="1" width="24" height="10"{dash}/>'
        else:
            mark = f'<path class="line s{i % 8}" d="M0 6H26"{dash}/>'
        swatch = f'<svg viewBox="0 0 26 12" aria-hidden="true">{mark}</svg>'
        items.append(f"<li>{swatch}{text(name)}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _drawings(
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    axes: Axes,
    title: str,
    draw: Callable[[Scale, Scale], Iterator[str]],
) -> str:
    parts = []
    for frame in _FRAMES:
        x = Scale(x_range[0], x_range[1], frame.left, frame.width - frame.right, axes.x_kind)
        y = Scale(y_range[0], y_range[1], frame.height - frame.bottom, frame.top, axes.y_kind)
        body = _grid(frame, x, y, axes) + "".join(draw(x, y))
        parts.append(
            f'<svg class="chart {frame.name}" viewBox="0 0 {frame.width} {frame.height}" '
            f'role="img" aria-label="{text(title)}">{body}</svg>'
        )
    return "".join(parts)


def _grid(frame: _Frame, x: Scale, y: Scale, axes: Axes) -> str:
    bottom, right = frame.height - frame.bottom, frame.width - frame.right
    parts = []
    y_ticks, x_ticks = y.ticks(frame.y_ticks), x.ticks(frame.x_ticks)
    for v in y_ticks:
        at = y(v)
        parts.append(f'<path class="grid" d="M{frame.left} {at:.1f}H{right}"/>')
        label = text(tick_label(v, y_ticks))
        parts.append(f'<text x="{frame.left - 8}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for v in x_ticks:
        at = x(v)
        parts.append(f'<path class="tick" d="M{at:.1f} {bottom}v5"/>')
        label = text(tick_label(v, x_ticks))
        anchor = "end" if at > right - 6 else "middle"
        parts.append(f'<text x="{at:.1f}" y="{bottom + 19}" text-anchor="{anchor}">{label}</text>')
    parts.append(f'<path class="axis" d="M{frame.left} {bottom}H{right}"/>')
    middle = (frame.left + right) / 2
    parts.append(
        f'<text class="label" x="{middle:.0f}" y="{frame.height - 8}" text-anchor="middle">'
        f"{text(axes.x_label)}</text>"
    )
    height = (frame.top + bottom) / 2
    parts.append(
        f'<text class="label" transform="translate(13 {height:.0f}) rotate(-90)" '
        f'text-anchor="middle">{text(axes.y_label)}</text>'
    )
    return "".join(parts)


def _drawable(scale: Scale, value: float) -> bool:
    return math.isfinite(value) and (scale.kind == "linear" or value > 0)


def _line(s: Series, x: Scale, y: Scale, index: int) -> str:
    path, pen_down, last = [], False, ""
    points = 0
    for a, b in zip(s.x, s.y, strict=True):
        if not (_drawable(x, a) and _drawable(y, b)):
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{x(a):.1f} {y(b):.1f}")
        pen_down, points = True, points + 1
        last = f"{x(a):.1f} {y(b):.1f}"
    dash = f' stroke-dasharray="{_DASHES[index % 8]}"' if _DASHES[index % 8] else ""
    dots = ""
    if 0 < points <= 16:
        # A dot is a zero-length stroke with round caps: one path for all measured points.
        dots = f'<path class="dots s{index % 8}" d="{"".join(p.replace("L", "M") + "h0" for p in path)}"/>'
    elif last:
        dots = f'<path class="dots s{index % 8}" d="M{last}h0"/>'
    return f'<path class="line s{index % 8}" d="{"".join(path)}"{dash}/>{dots}'


def _band(s: Series, x: Scale, y: Scale, index: int) -> str:
    rows = [
        (a, lo, hi)
        for a, lo, hi in zip(s.x, s.low or (), s.high or (), strict=True)
        if _drawable(x, a) and math.isfinite(hi) and math.isfinite(lo) and _drawable(y, hi)
    ]
    if not rows:
        return ""
    # On a log axis a band that reaches zero is cut at the bottom of the drawing.
    lower = [y(max(lo, y.low)) if y.kind == "log" else y(lo) for _, lo, _ in rows]
    ahead = "L".join(f"{x(a):.1f} {y(hi):.1f}" for a, _, hi in rows)
    back = "L".join(f"{x(a):.1f} {lo:.1f}" for (a, _, _), lo in reversed(list(zip(rows, lower, strict=True))))
    return f'<path class="band s{index % 8}" d="M{ahead}L{back}Z"/>'
