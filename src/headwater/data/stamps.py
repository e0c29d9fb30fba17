"""How tables write times: dates from the largest unit to the smallest, or plain numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_DATE = re.compile(
    r"(?P<year>\d{4})(?P<dash>[-/])(?P<month>\d{1,2})(?P=dash)(?P<day>\d{1,2})"
    r"(?:(?P<gap>[ T])(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>\.\d{1,6})?)?)?"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
PARTS = ("year", "month", "day", "hour", "minute")
"""Time columns that make up a date together; the last two may be missing."""
NAMES = ("time", "timestamp", "datetime", "date", "ds", "t", "hours", "hour", "step", "")
"""Names of a time column, the likeliest first; pandas leaves that of an index empty."""


def moment(stamp: str) -> datetime | float | None:
    """A date, as UTC where it names a zone; else a number; else None."""
    found = _DATE.fullmatch(stamp.strip())
    try:
        if found is None:
            return float(stamp)
        second, part = found["second"] or 0, found["part"] or "0"
        clock = (int(found["hour"] or 0), int(found["minute"] or 0), int(second), round(1e6 * float(part)))
        day = datetime(int(found["year"]), int(found["month"]), int(found["day"]), *clock)
    except ValueError:
        return None
    return day if found["zone"] is None else day.replace(tzinfo=UTC) - _offset(found["zone"])


def joined(cells: Sequence[str]) -> datetime | None:
    """The date that the cells of `PARTS` give; None if they give none."""
    try:
        return datetime(*(int(float(cell)) for cell in cells))  # type: ignore[arg-type]
    except ValueError:
        return None


def later(stamp: str, step: float) -> str:
    """A stamp so many hours later, or a number that much larger, written in the manner of the given one."""
    if "," in stamp:
        cells = stamp.split(",")
        at = joined(cells)
        if at is not None:
            at = _moved(at, step)
            return ",".join(str(getattr(at, part)) for part in PARTS[: len(cells)])
    found = _DATE.fullmatch(stamp.strip())
    if found is None:
        return plain(float(stamp) + step)
    # The zone stays as it is written, so the date moves in local time.
    written = stamp.strip().removesuffix(found["zone"] or "")
    at = moment(written)
    if not isinstance(at, datetime):
        return stamp
    at = _moved(at, step)
    parts = f"{at.year:04d}", _wide(at.month, found["month"]), _wide(at.day, found["day"])
    day = found["dash"].join(parts)
    timed = found["gap"] is not None or (at.hour, at.minute, at.second) != (0, 0, 0)
    clock = f"{found['gap'] or ' '}{_wide(at.hour, found['hour'])}:{at.minute:02d}" if timed else ""
    if found["second"] or at.second:
        clock += f":{at.second:02d}"
    if found["part"]:
        clock += f".{at.microsecond:06d}"[: len(found["part"])]
    return day + clock + (found["zone"] or "")


def plain(value: float) -> str:
    """The shortest text that gives the same number; whole numbers without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))


def _moved(at: datetime, step: float) -> datetime:
    return at + timedelta(microseconds=round(step * 3.6e9))


def _wide(value: int, like: str | None) -> str:
    """Two digits, unless the given one makes do with a single digit."""
    return str(value) if like is not None and len(like) == 1 else f"{value:02d}"


def _offset(zone: str) -> timedelta:
    if zone == "Z":
        return timedelta()
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
