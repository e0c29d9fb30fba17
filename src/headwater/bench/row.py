"""One comparison's outcome, and all of them as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Ours against a peer that computes the same.

    Times are medians over alternating runs, in seconds of wall time; memory is the highest resident memory
    beyond interpreter and networks, in MB of 10^6 bytes, where it was measured. Figures of a peer that is
    not installed, or that would not fit into memory, are None.
    """

    name: str
    ours_seconds: float
    peer_seconds: float | None
    ratio: float | None
    """Peer over ours: above 1 ours is faster."""
    spread: tuple[float, float] | None
    """Lowest and highest ratio of a single pair of runs: a ratio is worth as much as these agree."""
    ours_cpu_seconds: float
    """CPU time, all threads added: on a busy machine it says more than wall time does."""
    peer_cpu_seconds: float | None
    ours_peak_mb: float | None
    peer_peak_mb: float | None
    sizes: str
    """What was computed, and per what the times are."""
    peer: str
    """With its version and setting."""
    equal: str
    """What was found equal before anything was timed, and to what error."""
    slower: str = ""
    """Why ours may take longer, where that is known."""


def table(rows: Sequence[Row]) -> str:
    """The rows as text of at most 110 columns: the figures first, then what each of them means.

    CPU time and peak memory are ours / peer.
    """
    head = (
        "comparison",
        "ours",
        "peer",
        "peer / ours",
        "single pairs",
        "CPU time",
        "peak memory",
    )
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * w for w in widths))
    notes = [note for row in rows for note in _notes(row)]
    return "\n".join([*lines, "", *notes])


def _cells(row: Row) -> tuple[str, ...]:
    work = f"{duration(row.ours_cpu_seconds)} / {duration(row.peer_cpu_seconds)}"
    return (
        row.name,
        duration(row.ours_seconds),
        duration(row.peer_seconds),
        times_faster(row),
        span(row),
        work if row.peer_cpu_seconds else duration(row.ours_cpu_seconds),
        memory(row),
    )


def times_faster(row: Row) -> str:
    """The ratio, as "1.23 x"."""
    return "" if row.ratio is None else f"{row.ratio:.3g} x"


def span(row: Row) -> str:
    """The ratios of single pairs, as "1.2 to 1.3"."""
    return "" if row.spread is None else f"{row.spread[0]:.3g} to {row.spread[1]:.3g}"


def memory(row: Row) -> str:
    """Peak memory, ours / peer; empty where ours was not measured."""
    if row.ours_peak_mb is None:
        return ""
    theirs = "" if row.peer_peak_mb is None else f" / {row.peer_peak_mb:.0f} MB"
    return f"{row.ours_peak_mb:.0f} MB{theirs}"


def _notes(row: Row) -> list[str]:
    text = f"{row.sizes}. Peer: {row.peer}. Equal: {row.equal}."
    return [f"{row.name}:", *textwrap.wrap(text, 106, initial_indent="    ", subsequent_indent="    ")]


def duration(seconds: float | None) -> str:
    """Three digits and the unit that suits: 12.3 us, 4.56 ms, 7.89 s; empty for None."""
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
