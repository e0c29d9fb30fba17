"""The outcome as Markdown, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headwater.atomic import write_file
from headwater.bench.curve import everywhere, grid, outcome
from headwater.bench.row import Row, duration, memory, span, times_faster
from headwater.bench.suite import Measured
from headwater.errors import need

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def markdown(command: str, where: Mapping[str, str], found: Measured) -> str:
    """One table of all comparisons, what is below 1 and why, what was refused, and the curves."""
    head = ", ".join(f"{name} {value}" for name, value in where.items())
    parts = [f"`{command}`: {head}."]
    if found.rows:
        parts += [_comparisons(found.rows), _below(found.rows)]
    parts += [f"Not timed: {sentence}." for sentence in found.refused]
    for curve in found.curves:
        parts += [
            f"**{curve.name}**: {curve.measure}. Smaller is better.",
            _table(grid(curve)),
            outcome(curve),
        ]
    return "\n\n".join([*parts, *filter(None, [everywhere(found.curves)])])


def around(file: Path) -> tuple[str, str]:
    """What stands before and after the place of the outcome in a file; nothing, if there is no such file.

    Raises UserError for a file that exists and has no marks.
    """
    if not file.exists():
        return "", "\n"
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    marked = bool(begin and end)
    need(marked, f"{file} exists and has no {BEGIN} and {END}: add these two lines, or name a new file")
    return before, after


def put(file: Path, text: str) -> None:
    """Write the text between the two marks of a file, or as a new file. Raises as `around`."""
    before, after = around(file)
    write_file(file, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _comparisons(rows: Sequence[Row]) -> str:
    head = ["comparison", "sizes", "peer", "peer / ours", "single pairs", "wall time", "peak memory", "equal"]
    return _table([head, *(_cells(row) for row in rows)])


def _cells(row: Row) -> list[str]:
    times = [duration(seconds) for seconds in (row.ours_seconds, row.peer_seconds) if seconds is not None]
    return [
        row.name,
        row.sizes,
        row.peer,
        times_faster(row),
        span(row),
        " / ".join(times),
        memory(row),
        row.equal,
    ]


def _below(rows: Sequence[Row]) -> str:
    """Which comparisons ours loses, and why."""
    lines = [
        f"- {row.name}, {times_faster(row)}: {_why(row)}." for row in rows if row.ratio and row.ratio < 1
    ]
    return "\n".join(["Below 1:", "", *lines]) if lines else "No ratio is below 1."


def _why(row: Row) -> str:
    if row.spread and row.spread[1] >= 1:
        return "single pairs lie on both sides of 1" + (f"; {row.slower}" if row.slower else "")
    return row.slower or "no reason is known"


def _table(cells: Iterable[Sequence[str]]) -> str:
    head, *lines = (f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in cells)
    return "\n".join([head, "|" + "---|" * (head.count(" | ") + 1), *lines])
