"""What the stamps of a table say: the one way in which all of them are written, decided from all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np

from headwater.notes import note

from .cells import need_
from .numbers import LARGEST, Numbers, is_empty, mark_of
from .pictures import UnreadableError
from .stamps import CLOCK, PATTERNS, Clocks, Counts, Dates, Way, dates_of

Order = Literal["dmy", "mdy", "ymd"]
Say = Callable[[str], None]
"""Told in a sentence what was assumed."""

_SAMPLE = 20
"""Cells of a column that show whether it is worth a look."""


def way_of(stamps: Sequence[str]) -> Way:
    """How stamps are written that come from no file. UnreadableError if that is unclear."""
    ways: list[Way] = [*dated_ways(stamps), *packed_ways(stamps, False), Clocks(), Counts()]
    return decide(Path("series"), range(1, len(stamps) + 1), stamps, ways, None, note)[0]


def holds_times(cells: Sequence[str]) -> bool:
    """Whether all that a column holds are dates or clocks, and no plain numbers."""
    said = [cell for cell in cells if not is_empty(cell)]
    ways = [*dated_ways(said), *packed_ways(said, False), Clocks()]
    return bool(said) and any(all(way.read(cell) is not None for cell in said) for way in ways)


def dated_ways(cells: Sequence[str]) -> list[Way]:
    """The ways to read a column of dates that are no numbers; none if it holds others."""
    sample = sample_of(cells)
    if not sample or all(mark_of(cell) is not None for cell in (sample[0], sample[-1])):
        return []
    found: list[Way] = [way for form in PATTERNS for way in dates_of(form, sample)]
    read = {way: sum(way.read(cell) is not None for cell in sample) for way in found}
    return sorted((way for way in found if 3 * read[way] > len(sample)), key=lambda way: -read[way])


def packed_ways(cells: Sequence[str], named: bool) -> list[Way]:
    """The same of dates written as one number, which all cells must be, in the order of time.

    named: whether the column is called a time: its dates may then repeat, for hours, and be months.
    """
    sample = sample_of(cells)
    if not sample or len(sample[0]) < 6:
        return []
    forms = ("packed", "dmy packed", "mdy packed", *(("ym packed",) if named else ()))
    ways = [way for form in forms for way in dates_of(form, sample)]
    return [way for way in ways if in_order(way, cells, named)]


def in_order(way: Way, cells: Sequence[str], repeats: bool = False) -> bool:
    """Whether cells are times written in this way that rise, or fall, all along; some may repeat."""
    moments = [way.read(cell) for cell in cells]
    if any(m is None for m in moments) or len({_kind(m) for m in moments}) > 1:
        return False
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that are no times; said further on
        steps = np.diff(hours_of(moments))  # type: ignore[arg-type]
    least = -1e-9 if repeats else 0.0
    return bool((steps > least).all() or (steps < -least).all())


def decide(
    path: Path,
    lines: Sequence[int],
    stamps: Sequence[str],
    ways: Sequence[Way],
    order: Order | None,
    say: Say,
) -> tuple[Way, list[datetime | float]]:
    """The one way to read all stamps, and what they are."""
    said = [
        way for way in ways if not (isinstance(way, Dates) and _told(way) and order not in (None, way.order))
    ]
    if order is None and ways and isinstance(ways[0], Dates) and ways[0].short:
        raise UnreadableError(
            f"{path}, line {lines[0]}: {shown(stamps[0])!r} has a year of two digits: write four, or add "
            "--date-order dmy, mdy or ymd"
        )
    fits = list[tuple[Way, list[datetime | float]]]()
    for way in said:
        moments = [way.read(stamp) for stamp in stamps]
        if None not in moments:
            fits.append((way, moments))  # type: ignore[arg-type]
    if not fits:
        raise _no_time(path, lines, stamps, said or list(ways), order)
    way, moments = fits[0]
    others = [(w, m) for w, m in fits[1:] if m != moments]
    if others:
        way, moments = _one_of(path, lines, stamps, [fits[0], others[0]], say)
    for line, stamp, at in zip(lines, stamps, moments, strict=True):
        finite = isinstance(at, datetime) or abs(at) <= LARGEST
        need_(finite, f"{path}, line {line}: {shown(stamp)!r} is no time: write YYYY-MM-DD HH:MM or a number")
        need_(
            _kind(at) == _kind(moments[0]),
            f"{path}, line {line}: {shown(stamp)!r} is a time of another kind: write all in one way",
        )
    if isinstance(way, Dates) and way.short:
        say(f"years of two digits are read as 1969 to 2068: {shown(stamps[0])} is {moments[0]}")
    return way, moments


def _told(way: Dates) -> bool:
    """Whether day, month and year could stand in another order."""
    return way.form in ("dmy", "mdy", "dmy packed", "mdy packed") or (way.short and "named" not in way.form)


def _one_of(
    path: Path,
    lines: Sequence[int],
    stamps: Sequence[str],
    fits: list[tuple[Way, list[datetime | float]]],
    say: Say,
) -> tuple[Way, list[datetime | float]]:
    """Days first or months first, where all dates allow both."""
    if not all(isinstance(way, Dates) and _told(way) for way, _ in fits):
        return fits[0]
    steps = [np.diff(hours_of(moments)) for _, moments in fits]
    rises = [fit for fit, step in zip(fits, steps, strict=True) if (step > 0).all() or (step < 0).all()]
    dots = [fit for fit in fits if "." in stamps[0] and isinstance(fit[0], Dates) and fit[0].order == "dmy"]
    chosen = rises if len(rises) == 1 else dots
    first = f"{shown(stamps[0])!r} can be {fits[0][1][0]:%Y-%m-%d} or {fits[1][1][0]:%Y-%m-%d}"
    need_(len(chosen) == 1, f"{path}, line {lines[0]}: {first}: add --date-order dmy or mdy")
    at = chosen[0][1][0]
    why = "with which the rows rise" if len(rises) == 1 else "as usual with points"
    number = "day" if isinstance(chosen[0][0], Dates) and chosen[0][0].order == "dmy" else "month"
    say(f"dates are read with the {number} first, {why}: {shown(stamps[0])} is {at:%Y-%m-%d}")
    return chosen[0]


def _no_time(
    path: Path, lines: Sequence[int], stamps: Sequence[str], ways: Sequence[Way], order: Order | None
) -> UnreadableError:
    """A sentence on the first stamp that the way of most others does not read."""
    best = max(ways, key=lambda way: sum(way.read(stamp) is not None for stamp in stamps))
    row = next(i for i, stamp in enumerate(stamps) if best.read(stamp) is None)
    stamp, where = stamps[row], f"{path}, line {lines[row]}: {shown(stamps[row])!r}"
    other = row and (mark_of(stamp) is not None or dated_ways([stamp]) or CLOCK.fullmatch(stamp))
    if order is not None and isinstance(best, Dates) and dated_ways([stamp]):
        return UnreadableError(
            f"{where} is no date in the order {order}: correct it, or leave out --date-order"
        )
    if other:
        return UnreadableError(f"{where} is a time of another kind: write all in one way")
    last = row == len(stamps) - 1 and row > 1
    total = ", or remove the line if it is a total" if last else ""
    return UnreadableError(f"{where} is no time: write YYYY-MM-DD HH:MM or a number{total}")


def hours_of(moments: Sequence[datetime | float]) -> Numbers:
    """Hours since midnight of the first day, or the numbers themselves."""
    first = moments[0]
    if not isinstance(first, datetime):
        return np.array(moments, dtype=np.float64)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    aware = midnight.tzinfo is not None
    seconds = [
        (at - midnight).total_seconds() / 3600
        if isinstance(at, datetime) and (at.tzinfo is not None) == aware
        else np.nan  # refused by the caller: another kind
        for at in moments
    ]
    return np.array(seconds, dtype=np.float64)


def _kind(at: object) -> tuple[type, bool]:
    return type(at), isinstance(at, datetime) and at.tzinfo is not None


def sample_of(cells: Sequence[str]) -> list[str]:
    """Some cells of a column that are not empty, evenly over it."""
    some = [cells[i] for i in range(0, len(cells), max(1, len(cells) // _SAMPLE))]
    return [cell for cell in some if not is_empty(cell)]


def shown(stamp: str) -> str:
    """A time for a sentence about it."""
    stamp = stamp.replace("\t", " ")
    return stamp if len(stamp) <= 80 else f"{stamp[:60]}..."
