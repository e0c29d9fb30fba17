"""One comparison's outcome, and all of them as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Ours against a peer that computes the same.

    Times are medians over alternating runs, in seconds of wall time; memory is the highest resident memory
    beyond interpreter and networks, in MB of 10^6 bytes, where it was measured.
    """

    name: str
    ours_seconds: float
    peer_seconds: float
    ratio: float
    """Peer over ours: above 1 ours is faster."""
    spread: tuple[float, float]
    """Lowest and highest ratio of a single pair of runs: a ratio is worth as much as these agree."""
    ours_cpu_seconds: float
    """CPU time, all threads added: on a busy machine it says more than wall time does."""
    peer_cpu_seconds: float
    ours_peak_mb: float | None
    peer_peak_mb: float | None
    sizes: str
    """What was computed, and per what the times are."""
    peer: str
    """With its version and setting."""
    equal: str
    """What was found equal before anything was timed, and to what error."""


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
    low, high = row.spread
    memory = "" if row.ours_peak_mb is None or row.peer_peak_mb is None else _memory(row)
    return (
        row.name,
        duration(row.ours_seconds),
        duration(row.peer_seconds),
        f"{row.ratio:.3g} x",
        f"{low:.3g} to {high:.3g}",
        f"{duration(row.ours_cpu_seconds)} / {duration(row.peer_cpu_seconds)}",
        memory,
    )


def _memory(row: Row) -> str:
    return f"{row.ours_peak_mb:.0f} MB / {row.peer_peak_mb:.0f} MB"


def _notes(row: Row) -> list[str]:
    text = f"{row.sizes}. Peer: {row.peer}. Equal: {row.equal}."
    return [f"{row.name}:", *textwrap.wrap(text, 106, initial_indent="    ", subsequent_indent="    ")]


def duration(seconds: float) -> str:
    """Three digits and the unit that suits: 12.3 us, 4.56 ms, 7.89 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
