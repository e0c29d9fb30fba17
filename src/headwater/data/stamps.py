"""Ways to write one time: dates in the orders and words of many countries, compact dates, counts, clocks."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from headwater.errors import UserError

from .numbers import mark_of, plain, tidy, value_of

_MONTHS = """
january february march april may june july august september october november december
jan feb mar apr may jun jul aug sep oct nov dec
jan feb mar apr may june july aug sept oct nov dec
januar februar märz april mai juni juli august september oktober november dezember
jan feb mär apr mai jun jul aug sep okt nov dez
jan feb mrz apr mai jun jul aug sep okt nov dez
janvier février mars avril mai juin juillet août septembre octobre novembre décembre
janv févr mars avr mai juin juil août sept oct nov déc
enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
ene feb mar abr may jun jul ago sep oct nov dic
gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
gen feb mar apr mag giu lug ago set ott nov dic
janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro
jan fev mar abr mai jun jul ago set out nov dez
januari februari maart april mei juni juli augustus september oktober november december
jan feb mrt apr mei jun jul aug sep okt nov dec
"""
MONTHS = tuple(tuple(line.split()) for line in _MONTHS.strip().splitlines())
"""The months in the languages that are read, long and short."""

_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
_CLOCK = (
    r"(?:(?:T|[ \t_]+|, ?)(?P<H>\d{1,2})"
    r"(?:[:h](?P<M>\d{2})(?::(?P<S>\d{2})(?P<f>[.,]\d{1,9})?)?)?(?: ?(?P<ap>[AaPp])\.?[Mm]\.?)?"
    + _ZONE
    + ")?"
)
_Y, _M, _D, _NAME = r"(?P<y>\d{4})", r"(?P<m>\d{1,2})", r"(?P<d>\d{1,2})", r"(?P<name>[^\W\d_]{3,})\.?"
_TWO, _SEP, _AGAIN = r"(?P<yy>\d{2})", r"(?P<sep>[-/.]) ?", r"(?P=sep) ?"
_PACKED = r"(?P<y>(?:19|20|21)\d{2})(?P<m>\d{2})"
_FORMS = {
    "ymd": rf"{_Y}{_SEP}{_M}{_AGAIN}{_D}{_CLOCK}",
    "ymd zoned": rf"{_Y}{_SEP}{_M}{_AGAIN}{_D} ?(?P<zone>Z|UTC|GMT|[+-]\d{{2}}:\d{{2}})",
    "dmy": rf"{_D}{_SEP}{_M}{_AGAIN}{_Y}{_CLOCK}",
    "mdy": rf"{_M}{_SEP}{_D}{_AGAIN}{_Y}{_CLOCK}",
    "dmy short": rf"{_D}{_SEP}{_M}{_AGAIN}{_TWO}{_CLOCK}",
    "mdy short": rf"{_M}{_SEP}{_D}{_AGAIN}{_TWO}{_CLOCK}",
    "ymd short": rf"{_TWO}{_SEP}{_M}{_AGAIN}{_D}{_CLOCK}",
    "dmy short named": rf"{_D}[-/ .]{{1,2}}{_NAME}[-/ ]{_TWO}{_CLOCK}",
    "dmy named": rf"{_D}\.?[-/ ]?{_NAME}[-/ ,]{{0,2}}{_Y}{_CLOCK}",
    "mdy named": rf"{_NAME}[-/ ]{_D}[-/ ,]{{1,2}}{_Y}{_CLOCK}",
    "ymd named": rf"{_Y}[-/ ]{_NAME}[-/ ]{_D}{_CLOCK}",
    "month named": rf"{_NAME}[-/ ,]{{0,2}}{_Y}",
    "named month": rf"{_Y}[-/ ]?{_NAME}",
    "ym": rf"{_Y}[-/]{_M}",
    "my": rf"{_M}[-/]{_Y}",
    "signs": rf"{_Y}年{_M}月{_D}日(?: ?(?P<H>\d{{1,2}})[:时時](?P<M>\d{{2}})分?)?",
    "week": rf"{_Y}-?W(?P<w>\d{{2}})(?:-?(?P<wd>[1-7]))?",
    "quarter": rf"{_Y}[- ]?Q(?P<q>[1-4])",
    "columns": rf"{_Y}(?:\.0+)?\t{_M}(?:\.0+)?(?:\t{_D}(?:\.0+)?(?:\t(?P<H>\d{{1,2}})(?:\.0+)?"
    r"(?:\t(?P<M>\d{1,2})(?:\.0+)?(?:\t(?P<S>\d{1,2})(?:\.0+)?)?)?)?)?",
    "packed": rf"{_PACKED}(?P<d>\d{{2}})"
    rf"(?:[T_ \t]?(?P<H>\d{{2}})(?:(?P<M>\d{{2}})(?P<S>\d{{2}})?)?{_ZONE}(?:\.0+)?|(?:\.0+)?)",
    "packed with clock": rf"{_PACKED}(?P<d>\d{{2}})"
    rf"[ \tT](?P<H>\d{{1,2}})(?::(?P<M>\d{{2}})(?::(?P<S>\d{{2}}))?)?{_ZONE}",
    "dmy packed": r"(?P<d>\d{2})(?P<m>\d{2})(?P<y>(?:19|20)\d{2})",
    "mdy packed": r"(?P<m>\d{2})(?P<d>\d{2})(?P<y>(?:19|20)\d{2})",
    "ym packed": _PACKED + r"(?:\.0+)?",
}
_FINEST = {"f": 0.0, "S": 1 / 3600, "M": 1 / 60, "H": 1.0, "d": 24.0, "wd": 24.0, "w": 168.0}


class Way(ABC):
    """One way to write times, all of one column (or of several, whose cells are joined by tabs)."""

    @abstractmethod
    def read(self, stamp: str) -> datetime | float | None:
        """A date, as UTC where it names a zone; or a number; None if it is not written in this way."""

    @abstractmethod
    def after(self, stamps: Sequence[str], steps: Sequence[float]) -> list[tuple[float, str]]:
        """Times that follow the last of these stamps by so many units of `Table.times`: how far each is from
        it (which a calendar rounds), and how it is written. UserError if there is no such time."""


@dataclass(frozen=True)
class Dates(Way):
    """Dates in one of the forms above. months: their names; bare: parts that are written without a 0 before
    a single digit."""

    form: str
    months: tuple[str, ...] = ()
    bare: frozenset[str] = frozenset()
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", PATTERNS[self.form])

    @property
    def order(self) -> str:
        """Of day, month and year."""
        return self.form.split()[0]

    @property
    def short(self) -> bool:
        """Whether years have two digits."""
        return "short" in self.form

    def read(self, stamp: str) -> datetime | None:
        found = self.pattern.fullmatch(stamp)
        try:
            return None if found is None else self._moment(found.groupdict())
        except (ValueError, OverflowError):  # 30 February, or the year 0 in another zone
            return None

    def _local(self, part: dict[str, str | None]) -> datetime:
        get = {k: int(v) for k, v in part.items() if v and v.isdecimal()}
        year = get["y"] if "y" in get else get["yy"] + (1900 if get["yy"] >= 69 else 2000)
        month = get.get("m", 3 * get.get("q", 1) - 2)
        if name := part.get("name"):
            month = self.months.index(name.lower()) + 1
        day = datetime(year, month, get.get("d", 1))
        if "w" in get:
            day = datetime.fromisocalendar(year, get["w"], get.get("wd", 1))
        hour = get.get("H", 0)
        if half := part.get("ap"):
            if not 1 <= hour <= 12:
                raise ValueError
            hour = hour % 12 + (12 if half in "pP" else 0)
        rest = get.get("M", 0), get.get("S", 0)
        if hour == 24 and rest == (0, 0):  # ISO 8601 has it for the end of a day
            return day + timedelta(days=1)
        leap = rest == (59, 60)
        micro = int(((part.get("f") or ".0")[1:] + "000000")[:6])
        # Between its neighbours: a clock that counts it stands still for no row.
        return day.replace(hour=hour, minute=rest[0], second=59 if leap else rest[1]) + timedelta(
            microseconds=500_000 if leap else micro
        )

    def _moment(self, part: dict[str, str | None]) -> datetime:
        at, zone = self._local(part), part.get("zone")
        return at if zone is None else at.replace(tzinfo=UTC) - _offset(zone)

    def after(self, stamps: Sequence[str], steps: Sequence[float]) -> list[tuple[float, str]]:
        parts = [self.pattern.fullmatch(stamp) for stamp in stamps]
        known = [found for found in parts if found is not None]
        wide = max(sum(v is not None for v in found.groupdict().values()) for found in known)
        like = [f for f in known if sum(v is not None for v in f.groupdict().values()) == wide][-1]
        zone = like.groupdict().get("zone")
        last = self.read(stamps[-1])
        if last is None:
            raise UserError(f"{stamps[-1]!r} is no time: write all in one way")
        local = last.replace(tzinfo=None) + (_offset(zone) if zone else timedelta())
        moments = [self._local(found.groupdict()) for found in known]
        months, made = month_step(moments), list[tuple[float, str]]()
        try:
            for number, step in enumerate(steps, 1):
                if months:
                    at = _months_later(local, number * months, moments)
                    step = (at - local).total_seconds() / 3600
                else:
                    step = _whole(step, number, like)
                    at = local + timedelta(microseconds=round(step * 3.6e9))
                made.append((step, self._written(at, like)))
        except (OverflowError, ValueError):
            raise UserError(f"no date comes {len(steps)} steps after {stamps[-1]}: forecast less") from None
        return made

    def _written(self, at: datetime, like: re.Match[str]) -> str:
        """A time written as another one is."""
        text, iso = like[0], at.isocalendar()
        year = iso.year if "w" in like.groupdict() and like["w"] else at.year
        half = {"y": year, "yy": at.year % 100, "m": at.month, "d": at.day, "M": at.minute, "S": at.second}
        numbers = {**half, "w": iso.week, "wd": iso.weekday, "q": (at.month + 2) // 3}
        numbers["H"] = (at.hour - 1) % 12 + 1 if like.groupdict().get("ap") else at.hour
        for group, old in sorted(like.groupdict().items(), key=lambda pair: -like.start(pair[0])):
            if old is None or group in ("sep", "zone"):
                continue
            if group == "name":
                new = _cased(self.months[at.month - 1], old)
            elif group == "ap":
                new = _cased("ap"[at.hour >= 12], old)
            elif group == "f":
                new = old[0] + f"{at.microsecond:06d}".ljust(9, "0")[: len(old) - 1]
            else:
                new = str(numbers[group])
                new = new if group in self.bare else new.zfill(4 if group == "y" else 2)
            text = text[: like.start(group)] + new + text[like.end(group) :]
        return text


PATTERNS = {name: re.compile(form, re.IGNORECASE) for name, form in _FORMS.items()}


def dates_of(form: str, stamps: Sequence[str]) -> list[Dates]:
    """The ways to read stamps of one form, of which most must be: one, or one for each language that fits."""
    found = [match for stamp in stamps if (match := PATTERNS[form].fullmatch(stamp)) is not None]
    if 2 * len(found) <= len(stamps):
        return []
    # "10" says nothing of a 0 before single digits.
    parts = [(k, v) for match in found for k, v in match.groupdict().items() if v and v.isdecimal()]
    bare = {k for k, v in parts if len(v) == 1}
    if bare & {"m", "d", "H"}:
        bare |= {"m", "d", "H"} - {k for k, v in parts if v[0] == "0" and len(v) > 1}
    ways = [Dates(form, bare=frozenset(bare))]
    if "name" in PATTERNS[form].groupindex:
        names = {match["name"].lower() for match in found}
        ways = [Dates(form, months, frozenset(bare)) for months in MONTHS if names & set(months)]
        ways.sort(key=lambda way: -len(names & set(way.months)))
    return ways


def is_time(cell: str) -> bool:
    """Whether a cell alone is a date or a clock."""
    return CLOCK.fullmatch(cell) is not None or any(
        way.read(cell) is not None for form in PATTERNS for way in dates_of(form, [cell])
    )


def month_step(moments: Sequence[datetime]) -> int:
    """How many months lie between these times, at the median; 0 if they are no times of months."""
    day = max((at.day for at in moments), default=0)
    ends = all(at.day == _days(at) for at in moments)
    same = all(at.day == min(day, _days(at)) for at in moments)
    clocks = {(at.hour, at.minute, at.second, at.microsecond) for at in moments}
    months = sorted(12 * at.year + at.month for at in moments)
    gaps = sorted(b - a for a, b in pairwise(months))
    regular = len(clocks) == 1 and (same or ends) and bool(gaps) and gaps[0] > 0
    return gaps[(len(gaps) - 1) // 2] if regular else 0


def _months_later(at: datetime, months: int, moments: Sequence[datetime]) -> datetime:
    """The day that these moments share, or the month's end if all are ends, so many months later."""
    years, month = divmod(at.month - 1 + months, 12)
    first = at.replace(year=at.year + years, month=month + 1, day=1)
    day = 31 if all(m.day == _days(m) for m in moments) else max(m.day for m in moments)
    return first.replace(day=min(day, _days(first)))


def _days(at: datetime) -> int:
    """Days of its month."""
    return monthrange(at.year, at.month)[1]


def _whole(step: float, number: int, like: re.Match[str]) -> float:
    """`number` steps, each cut to what the way of writing can express."""
    unit = next((size for part, size in _FINEST.items() if like.groupdict().get(part)), 24.0)
    cut = number * max(1, int(step / number / unit + 1e-6)) * unit if unit else step
    return step if abs(cut - step) < 1e-6 else cut


def _cased(word: str, like: str) -> str:
    return word.upper() if like.isupper() else word.title() if like[0].isupper() else word


def _offset(zone: str) -> timedelta:
    if zone[0] not in "+-":
        return timedelta()
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[3:].lstrip(":") or 0))


CLOCK = re.compile(r"(?P<H>\d{1,4}):(?P<M>[0-5]\d)(?::(?P<S>[0-5]\d)(?P<f>\.\d{1,9})?)?")


@dataclass(frozen=True)
class Clocks(Way):
    """Hours and minutes without a date: 23:30, and 25:00 after it."""

    def read(self, stamp: str) -> float | None:
        found = CLOCK.fullmatch(stamp)
        if found is None:
            return None
        return int(found["H"]) + int(found["M"]) / 60 + float((found["S"] or "0") + (found["f"] or "")) / 3600

    def after(self, stamps: Sequence[str], steps: Sequence[float]) -> list[tuple[float, str]]:
        like, last = CLOCK.fullmatch(stamps[-1]), self.read(stamps[-1])
        if like is None or last is None:
            raise UserError(f"{stamps[-1]!r} is no clock: write all in one way")
        tail, made = len(like["f"] or ".") - 1, list[tuple[float, str]]()
        for step in steps:
            ticks = round((last + step) * 3600 * 10**tail)
            seconds, part = divmod(ticks, 10**tail)
            text = f"{seconds // 3600:0{len(like['H'])}d}:{seconds // 60 % 60:02d}"
            text += f":{seconds % 60:02d}" if like["S"] or seconds % 60 else ""
            made.append((step, text + (f".{part:0{tail}d}" if tail else "")))
        return made


SECONDS, DAYS = Fraction(1, 3600), Fraction(24)


@dataclass(frozen=True)
class Counts(Way):
    """Numbers. hours: what one of them is worth; 0 for plain numbers, which count in units of their own.

    since: where they begin, in hours after 1970. decimal: their decimal sign.
    """

    hours: Fraction = Fraction(0)
    since: int = 0
    decimal: str = "."

    def read(self, stamp: str) -> datetime | float | None:
        if mark_of(stamp) is None:
            return None
        if not self.hours:
            return value_of(stamp, self.decimal)
        try:
            exact = Fraction(self._number(stamp)) * self.hours + self.since
            finest = 1000 if self.hours == DAYS else 1  # in microseconds: days come with few digits
            ticks = round(exact * 3_600_000_000 / finest)
            return datetime(1970, 1, 1) + timedelta(microseconds=finest * ticks)
        except (OverflowError, ValueError):
            return None

    def after(self, stamps: Sequence[str], steps: Sequence[float]) -> list[tuple[float, str]]:
        if not self.hours:
            last = value_of(stamps[-1], self.decimal)
            return [(step, plain(last + step).replace(".", self.decimal)) for step in steps]
        last, made = self._number(stamps[-1]), list[tuple[float, str]]()
        whole = last.lstrip("-").isdecimal() and self.hours != DAYS
        for step in steps:
            # A microsecond is as much as hours in float64 tell apart.
            new = Fraction(last) + Fraction(round(step * 3.6e9), 3_600_000_000) / self.hours
            text = str(round(new)) if whole else plain(round(float(new), 9)).replace(".", self.decimal)
            made.append((step, text))
        return made

    def _number(self, stamp: str) -> str:
        return tidy(stamp).replace("," if self.decimal == "." else ".", "").replace(self.decimal, ".")


EPOCHS = {
    "seconds": Counts(SECONDS),
    "milliseconds": Counts(SECONDS / 10**3),
    "microseconds": Counts(SECONDS / 10**6),
    "nanoseconds": Counts(SECONDS / 10**9),
}
"""Counts since 1970."""
EXCEL = Counts(DAYS, -25569 * 24)
"""Days as spreadsheets count them."""
