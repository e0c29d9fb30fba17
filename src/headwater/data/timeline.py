"""The times of a table: read, in rising order, with the hours that clocks repeat and skip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from .cells import Cells, need_
from .clocks import Order, Say, decide, hours_of, shown
from .numbers import Numbers
from .pictures import UnreadableError
from .stamps import Clocks, Way
from .timecolumn import find_times

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Times:
    """columns: indices of the time columns. stamps: how each time is written, cells joined by tabs. times:
    (L,), hours since midnight of the first day, or numbers. newest_first: whether the file holds them the
    other way round."""

    columns: list[int]
    stamps: tuple[str, ...]
    times: Numbers
    way: Way
    newest_first: bool


def read_times(
    cells: Cells, path: Path, say: Say, column: str | None, order: Order | None, decimal: str | None
) -> Times:
    """Find the time columns of a table and read them; the rows are put in the order of time.

    column, order, decimal: name of the column, order of day, month and year, and decimal sign, where the user
    said them. Raises UnreadableError where no column holds times or several may, where times can mean two
    things, do not rise, or are wrong.
    """
    found = find_times(cells, path, column, decimal)
    stamps = ["\t".join(parts) for parts in zip(*(cells.columns[i] for i in found.columns), strict=True)]
    way, moments = decide(path, cells.lines, stamps, found.ways, order, say)
    if found.note:
        say(found.note)
    hours = hours_of(moments)
    falls = int((np.diff(hours) < 0).sum())
    flipped = len(hours) > 1 and hours[0] > hours[-1] and 2 * falls > len(hours) - 1
    flipped = flipped and not isinstance(way, Clocks)  # those begin anew at midnight
    lines = cells.lines
    if flipped:
        say("rows run from the newest time to the oldest: they are taken in the order of time")
        stamps, lines, moments = stamps[::-1], lines[::-1], moments[::-1]
        hours = hours_of(moments)
    hours = hours + _set_back(moments, stamps, say)
    _check_rise(path, lines, stamps, hours)
    return Times(found.columns, tuple(stamps), hours, way, flipped)


def _check_rise(path: Path, lines: Sequence[int], stamps: Sequence[str], hours: Numbers) -> None:
    for row in np.flatnonzero(np.diff(hours) <= 0).tolist():
        where = f"{path}, line {lines[row + 1]}: {shown(stamps[row + 1])!r}"
        same = np.flatnonzero(hours[: row + 1] == hours[row + 1]).tolist()
        need_(
            not same,
            f"{where} is the time of line {lines[same[0]] if same else 0} too: give each time once, with a "
            "column for each thing measured",
        )
        raise UnreadableError(f"{where} is not after the time before it: sort the rows, each time once")


def _set_back(moments: Sequence[datetime | float], stamps: Sequence[str], say: Say) -> Numbers:
    """Hours to add where local clocks are set back in autumn, and forward in spring; (L,)."""
    shift = np.zeros(len(moments))
    if len(moments) < 3 or not all(isinstance(at, datetime) and at.tzinfo is None for at in moments):
        return shift
    dates = [at for at in moments if isinstance(at, datetime)]
    steps = [b - a for a, b in pairwise(dates)]
    usual = sorted(steps)[len(steps) // 2]
    back = [
        i
        for i, step in enumerate(steps, 1)
        if step <= timedelta() and step + _HOUR == usual and _sunday(dates[i])
    ]
    if not back:
        return shift
    for i, step in enumerate(steps, 1):
        if i in back:
            shift[i:] += 1
        elif step - _HOUR == usual and _spring(dates[i]):
            shift[i:] -= 1
    when = f"{shown(stamps[back[0]])}"
    say(f"{when} comes twice, as where clocks are set back: its rows are read as two hours")
    return shift


def _sunday(at: datetime) -> bool:
    """Whether clocks may be set back at this time: early on a Sunday in autumn, north or south."""
    return at.weekday() == 6 and at.hour <= 3 and at.month in (3, 4, 9, 10, 11)


def _spring(at: datetime) -> bool:
    """Whether clocks are set forward: last or second Sunday of March, first of October."""
    week = (at.day - 1) // 7
    march = at.month == 3 and (week == 1 or at.day > 24)
    return at.weekday() == 6 and at.hour <= 4 and (march or (at.month == 10 and week == 0))
