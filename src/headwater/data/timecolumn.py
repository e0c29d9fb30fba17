"""Which columns of a table hold its times: decided by all rows, and by names after that."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .cells import Cells, need_
from .clocks import dated_ways, in_order, packed_ways, sample_of
from .numbers import Numbers, Profile, mark_of
from .pictures import UnreadableError
from .stamps import EPOCHS, EXCEL, Clocks, Counts, Dates, Way

_PARTS = (
    ("year", "yyyy", "yy", "yr", "jahr", "année", "annee", "año", "ano", "anno", "jaar"),
    ("month", "mm", "mo", "mon", "monat", "mois", "mes", "mês", "mese", "maand"),
    ("day", "dd", "dy", "tag", "jour", "día", "dia", "giorno", "dag"),
    ("hour", "hh", "hr", "stunde", "heure", "hora", "ora", "uur"),
    ("minute", "min", "mn", "minuto", "minuut"),
    ("second", "sec", "ss", "sekunde", "seconde", "segundo", "secondo"),
)
"""Names of columns that make up a date together; the first two must be there."""
_HOURS = {*_PARTS[3], "hours", "time", "hhmm", "stunden", "uhrzeit"}
_SURE = ("time", "timestamp", "datetime", "date", "ds")
_LIKELY = (*_SURE, "hours", "hour", "step")
"""Names of a time column that holds numbers, the likeliest first."""
_NAMES = """
time times timestamp timestamps datetime dt ts utc gmt local epoch unix elapsed period year month day index
zeit zeitpunkt zeitstempel uhrzeit jahr monat heure horodatage année mois año tiempo anno mese mes tijd
tijdstip maand tid время 时间 時間 時刻 시간 yyyymm yyyymmdd
"""
_DAYS = """
date datetime datum fecha data dato tarih дата day 日期 日付 날짜
"""
_UNITS = """
utc gmt local lokal s sec secs second seconds ms us ns h hr hour hours min minutes d
"""
_DATES = frozenset(_DAYS.split())
_WORDS = frozenset(_NAMES.split()) | _DATES | {"hours", "hour", "step"}
_BESIDE = _WORDS | frozenset(_UNITS.split())
"""Words that call a column a date, a time, and what may stand beside those."""
_CLOCK = re.compile(r"\d{1,2}(:\d{2}){1,2}(\.\d+)?( ?[ap]\.?m\.?)?", re.IGNORECASE)
_COUNTERS = frozenset(("", "index", "id", "no", "nr", "row", "#", "idx", "obs", "n"))


@dataclass(frozen=True)
class Found:
    """columns: indices of the time columns. ways: those in which they may be written, the likeliest first.
    note: what to say of that."""

    columns: list[int]
    ways: list[Way]
    note: str = ""


def find_times(cells: Cells, path: Path, column: str | None, decimal: str | None) -> Found:
    """The time columns of a table. column: its name, decimal: the decimal sign, if the user said them.

    Columns of dates come first, then columns of numbers that are called time. Raises UnreadableError if
    there are none, or several.
    """
    head, columns = cells.head, cells.columns
    low = [name.lower() for name in head]
    if column is not None:
        need_(column in head, f"{path} has no column {column!r}: --time-column is one of {_listed(head)}")
        at = head.index(column)
        dated = dated_ways(columns[at]) or packed_ways(columns[at], True)
        return _joined(cells, at, dated) if dated else Found([at], *_counted(head[at], columns[at], decimal))
    dated = {i: ways for i, held in enumerate(columns) if (ways := dated_ways(held))}
    parts = _parts(low, columns)
    if len(parts) > 2 or (parts and not dated):
        return Found(parts, [Dates("columns", bare=_bare([columns[i] for i in parts]))])
    if not dated:
        dated = {i: ways for i, held in enumerate(columns) if (ways := packed_ways(held, _named(head[i])))}
    sure = next((low.index(name) for name in _SURE if name in low), None)
    named = any(_named(head[i]) for i in dated)
    counted = sure is not None and sure not in dated and in_order(Counts(), columns[sure])
    if (
        counted
        and not named
        and not any(in_order(way, columns[i]) for i, ways in dated.items() for way in ways)
    ):
        dated = {}  # the dates are of something else
    for at, ways in (_likeliest(dated, cells, path) if len(dated) > 1 else dated).items():
        return _joined(cells, at, ways)
    at = _numbered(cells, path)
    return Found([at], *_counted(head[at], columns[at], decimal))


def _parts(low: Sequence[str], columns: Sequence[Sequence[str]]) -> list[int]:
    """The columns of year, month and, if there are, day, hour, minute and second."""
    place, found = {name.lstrip("#"): i for i, name in reversed([*enumerate(low)])}, list[int]()
    for names in _PARTS:
        at = next((place[name] for name in names if name in place), None)
        if at is None or not _majority(
            columns[at], lambda cell: re.fullmatch(r"\d{1,4}(\.0+)?", cell) is not None
        ):
            break
        found.append(at)
    return found if len(found) > 1 else []


def _likeliest(dated: dict[int, list[Way]], cells: Cells, path: Path) -> dict[int, list[Way]]:
    """The one column of dates that is called time, or else the one that rises."""
    names = [cells.head[i] for i in dated]
    pool = [i for i in dated if _named(cells.head[i])] or list(dated)
    rise = [i for i in pool if any(in_order(way, cells.columns[i]) for way in dated[i])]
    chosen = pool if len(pool) == 1 else rise
    need_(
        len(chosen) == 1,
        f"{path} has several columns of dates, {_listed(names)}: add --time-column NAME to say which to take",
    )
    return {chosen[0]: dated[chosen[0]]}


def _joined(cells: Cells, at: int, ways: list[Way]) -> Found:
    """A column of dates, with that of clocks or hours beside it if there is one."""
    dates = cells.columns[at]
    days = all(isinstance(way, Dates) for way in ways) and not any(
        match["H"] for cell in sample_of(dates) for way in ways if isinstance(way, Dates)
        and "H" in way.pattern.groupindex and (match := way.pattern.fullmatch(cell)) is not None
    )  # fmt: skip
    first, head = ways[0], cells.head[at]
    said = ""
    if (
        isinstance(first, Dates)
        and "packed" in first.form
        and not (_named(head) and "d" in first.pattern.groupindex)
    ):
        said = f"column {head} is read as dates: {dates[0]} is {first.read(dates[0])}"
    if not days:
        return Found([at], ways, said)
    repeats = len(set(dates)) < len(dates)
    for i, held in enumerate(cells.columns):
        name = cells.head[i].lower()
        clock = _majority(held, lambda cell: _CLOCK.fullmatch(cell) is not None)
        hour = name in _HOURS and _majority(held, lambda cell: re.fullmatch(r"\d{1,4}", cell) is not None)
        if i != at and ((clock and (repeats or _named(name))) or (hour and repeats)):
            pairs = ["\t".join(pair) for pair in zip(dates, held, strict=True)]
            return Found([at, i], dated_ways(pairs) or ways, said)
    return Found([at], ways, said)


def _numbered(cells: Cells, path: Path) -> int:
    """The column of numbers that is the time, by its name."""
    head, columns = cells.head, cells.columns
    low = [name.lower() for name in head]
    named = [low.index(name) for name in _LIKELY if name in low]
    if named and low[named[0]] in _SURE:
        return named[0]
    named += [i for i, name in enumerate(head) if i not in named and _named(name)]
    named += [i for i, name in enumerate(low) if name == "" or name == "unnamed: 0"]
    rise = [i for i in named if in_order(Counts(), columns[i]) or in_order(Clocks(), columns[i])]
    if rise or named:
        return (rise or named)[0]
    for at in (i for i, name in enumerate(low) if name == "t"):
        first = head[at] == "t" and at == 0 and in_order(Counts(), columns[at])
        if first or _even(columns[at]) or not _majority(columns[at], lambda cell: mark_of(cell) is not None):
            return at
        raise UnreadableError(
            f"{path}: column {head[at]} may hold the time or a temperature: add --time-column {head[at]} if "
            "it is the time, else add a column called time"
        )
    raise UnreadableError(
        f"{path} has no time column: call one `time` or `timestamp`, or add --time-column NAME"
    )


def _even(cells: Sequence[str]) -> bool:
    """Whether numbers rise by even steps."""
    if not in_order(Counts(), cells):
        return False
    steps = np.diff([float(Counts().read(cell)) for cell in cells])  # type: ignore[arg-type]
    return bool(np.allclose(steps, steps[:1], rtol=1e-3))


def _counted(name: str, cells: Sequence[str], decimal: str | None) -> tuple[list[Way], str]:
    """How a column of numbers tells the time, and what to say of that."""
    profile = Profile.of(cells)
    sign = decimal or next(iter(profile.sure), ".")
    plain = Counts(decimal=sign)
    values = [plain.read(cell) for cell in cells]
    if profile.word is not None or not profile.marks:
        return [Clocks(), plain], ""
    numbers = np.array([v for v in values if v is not None], dtype=np.float64)
    shown = next(cell for cell in cells if mark_of(cell) is not None)
    for power, (unit, way) in enumerate(EPOCHS.items()):
        if (numbers >= 6e8 * 1000**power).all() and (numbers < 4.1e9 * 1000**power).all():
            way = replace(way, decimal=sign)
            return [way], f"column {name} is read as {unit} since 1970: {shown} is {way.read(shown)}"
    if _DATES & set(_tokens(name)) and ((numbers >= 2e4) & (numbers < 8e4)).all():
        way = replace(EXCEL, decimal=sign)
        return [way], f"column {name} is read as days of a spreadsheet: {shown} is {way.read(shown)}"
    return [plain], ""


def is_counter(index: int, name: str, values: Numbers) -> bool:
    """Whether a column counts the rows, as programs add one before the others."""
    low = name.lower()
    named = (low in _COUNTERS and index == 0) or low == "" or re.fullmatch(r"unnamed: \d+", low) is not None
    return named and any(np.array_equal(values, np.arange(first, first + len(values))) for first in (0, 1))


def _majority(cells: Sequence[str], is_so: Callable[[str], bool]) -> bool:
    sample = sample_of(cells)
    return 2 * sum(map(is_so, sample)) > len(sample)


def _bare(columns: Sequence[Sequence[str]]) -> frozenset[str]:
    """Which of year, month, day, hour, ... are written without a leading 0: all, unless one has it."""
    return frozenset(
        part for part, held in zip("ymdHMS", columns, strict=False) if not any(c[0] == "0" != c for c in held)
    )


def _tokens(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_\d]+", name.lower()) if word]


def _named(name: str) -> bool:
    """Whether a column is called time in some language, with a unit or a zone at most."""
    words = _tokens(name)
    return bool(words) and words[0] in _WORDS and set(words) <= _BESIDE


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:6])) + (" ..." if len(names) > 6 else "")
