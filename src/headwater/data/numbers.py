"""Columns of numbers as programs and countries write them: decimal signs, groups of digits, missing ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .pictures import UnreadableError

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Decimal = Literal[".", ","]

_EMPTY = """
na n/a n.a. #n/a #na <na> nan null (null) none nil \\n - -- --- – — . .. ... ? * missing k.a. #value! #div/0!
#ref! #null! #num! #name?
"""
EMPTY = frozenset(["", *_EMPTY.split()])
"""Cells without a value, in small letters."""
LARGEST = float(np.finfo(np.float32).max)
"""Networks compute in float32."""

_CELL = re.compile(r"[+-]?(\d[\d.,]*|[.,]\d+)([eE][+-]?\d+)?")
_MINUS = re.compile(r"^[−–](?=[\d.,])")
_SPACED = re.compile(r"[+-]?\d{1,3}([ \u00a0\u202f\u2009'’])\d{3}(\1\d{3})*([.,]\d*)?")
_COMMAS, _POINTS = re.compile(r"\d{1,3}(,\d{2,3})*,\d{3}"), re.compile(r"\d{1,3}(\.\d{3})+")
_UNIT = re.compile(r"[+-−]?\d[\d.,]*(?:\s+|(?=[°µ$€£%]))(\D+)")
_INFINITE = re.compile(r"[+-−]?(inf|infinity|∞|1\.#inf)", re.IGNORECASE)


LONGEST = 400
"""Letters of a cell that may be a number or a time."""


def is_empty(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return len(cell) < LONGEST and cell.lower() in EMPTY


def tidy(cell: str) -> str:
    """The same number with an ASCII minus, and without spaces, apostrophes and a percent sign."""
    cell = _MINUS.sub("-", cell.removesuffix("%").rstrip())
    return re.sub(r"[ \u00a0\u202f\u2009'’]", "", cell) if _SPACED.fullmatch(cell) else cell


def mark_of(cell: str) -> str | None:
    """What a cell says of the decimal sign: it is "." or ","; "" it has none; "?." or "?," the sign between
    digits may also part thousands. None: the cell is no number.
    """
    if len(cell) > LONGEST:
        return None
    found = _CELL.fullmatch(cell) or _CELL.fullmatch(tidy(cell))
    if found is None:
        return None
    body, power = found.groups()
    commas, points = body.count(","), body.count(".")
    if not commas and not points:
        return ""
    if commas and points:
        last = "," if body.rfind(",") > body.rfind(".") else "."
        groups = (_POINTS if last == "," else _COMMAS).fullmatch(body[: body.rfind(last)])
        return last if groups is not None and body.count(last) == 1 else None
    if commas > 1 or points > 1:
        groups = (_COMMAS if commas else _POINTS).fullmatch(body)
        return None if groups is None else "." if commas else ","
    mark = "," if commas else "."
    left, _, right = body.partition(mark)
    thousands = len(right) == 3 and 1 <= len(left) <= 3 and left[0] != "0" and power is None
    return f"?{mark}" if thousands else mark


def value_of(cell: str, decimal: str) -> float:
    """The number of a cell that `mark_of` knows, with this decimal sign."""
    if cell.isdecimal():
        return float(cell)
    return float(tidy(cell).replace("," if decimal == "." else ".", "").replace(decimal, "."))


@dataclass(frozen=True)
class Profile:
    """What the cells of a column are, before anything is decided.

    marks: what `mark_of` says, with the row where it first does; word, percent, bare: the first row with a
    word, with a percent sign, with a number without one.
    """

    cells: Sequence[str]
    marks: Mapping[str, int]
    word: int | None = None
    percent: int | None = None
    bare: int | None = None

    @property
    def sure(self) -> set[str]:
        """Decimal signs that some cell proves."""
        return {"."} & self.marks.keys() | {","} & self.marks.keys()

    @classmethod
    def of(cls, cells: Sequence[str]) -> Profile:
        """Look at every cell."""
        first = {cell: row for row, cell in zip(range(len(cells) - 1, -1, -1), reversed(cells), strict=True)}
        marks, word, percent, bare = dict[str, int](), len(cells), len(cells), len(cells)
        for cell, row in first.items():
            if is_empty(cell):
                continue
            mark = mark_of(cell)
            if mark is None:
                word = min(word, row)
                continue
            marks[mark] = min(row, marks.get(mark, row))
            if cell[-1] == "%":
                percent = min(percent, row)
            else:
                bare = min(bare, row)
        return cls(cells, marks, *(row if row < len(cells) else None for row in (word, percent, bare)))


@dataclass(frozen=True)
class Reader:
    """Reads the columns of one file.

    path: to name it. say: told in a sentence what was assumed. lines: of each row. sure: decimal signs that
    any column proves. decimal: the one that the user said. missing: numbers that stand for none. separator:
    what parts the cells of the file.
    """

    path: object
    say: Callable[[str], None]
    lines: Sequence[int]
    sure: frozenset[str] = frozenset()
    decimal: Decimal | None = None
    missing: tuple[float, ...] = ()
    separator: str = ","

    def where(self, row: int, column: str) -> str:
        """To begin a sentence with."""
        return f"{self.path}, line {self.lines[row]}, column {column}"

    def read(self, column: str, profile: Profile) -> Numbers:
        """Values (L,), NaN where a cell is empty or holds a missing number.

        Raises UnreadableError for words, infinite or too large numbers, and decimal signs that are unclear.
        """
        cells = profile.cells
        if profile.word is not None:
            raise self.refusal(column, profile.word, cells[profile.word])
        if profile.percent is not None and profile.bare is not None:
            row = max(profile.percent, profile.bare)
            has, others = ("a", "none") if cells[row].endswith("%") else ("no", "one")
            raise UnreadableError(
                f"{self.where(row, column)}: {cells[row]!r} has {has} percent sign and others have {others}: "
                "write all in one way"
            )
        if profile.percent is not None:
            cell = cells[profile.percent]
            self.say(f"column {column} is in percent: {cell} is read as {cell.rstrip('% ')}")
        decimal = self._decimal(column, profile)
        known = {cell: self._value(cell, decimal) for cell in dict.fromkeys(cells)}
        values = np.array([known[cell] for cell in cells], dtype=np.float64)
        over = np.abs(values) > LARGEST
        if over.any():
            row = int(over.argmax())
            why = (
                "is not finite"
                if values[row] in (np.inf, -np.inf)
                else "is beyond 3.4e38, where float32 ends"
            )
            raise UnreadableError(
                f"{self.where(row, column)}: {cells[row]} {why}: leave it empty, or add --missing "
                f"{cells[row]} if it stands for a missing value"
            )
        self._suspect(column, values)
        return values

    def refusal(self, column: str, row: int, cell: str) -> UnreadableError:
        """Why a cell is no number."""
        where = self.where(row, column)
        if len(cell) > LONGEST:
            return UnreadableError(f"{where}: a cell of {len(cell)} letters is no number: correct it")
        if _INFINITE.fullmatch(cell):
            return UnreadableError(f"{where}: {cell} is not finite: leave it empty")
        if _UNIT.fullmatch(cell):
            return UnreadableError(f"{where}: {cell!r} has a unit: write the number alone")
        return UnreadableError(f"{where}: {cell!r} is no number: correct it or leave it empty")

    def _value(self, cell: str, decimal: str) -> float:
        if is_empty(cell):
            return np.nan
        value = value_of(cell, decimal)
        stands = any(abs(value - m) <= 1e-6 * abs(m) for m in self.missing)
        return np.nan if stands else value

    def _decimal(self, column: str, profile: Profile) -> str:
        """The decimal sign of a column, by its own cells, by what was said, or by the other columns."""
        cells, marks = profile.cells, profile.marks
        signs = profile.sure or {mark[1] for mark in marks if mark[:1] == "?"}
        if len(signs) > 1:
            rows = [marks.get(sign, marks.get(f"?{sign}", 0)) for sign in ".,"]
            said = " and ".join(f"{cells[row]!r} in line {self.lines[row]}" for row in sorted(rows))
            raise UnreadableError(
                f"{self.path}, column {column}: {said} have different decimal signs: write all in one way"
            )
        sign = next(iter(signs), "")
        if profile.sure:
            if self.decimal not in (None, sign):
                row = marks[sign]
                raise UnreadableError(
                    f"{self.where(row, column)}: {cells[row]!r} has the decimal sign {sign!r}: "
                    f"leave out --decimal {self.decimal}"
                )
            return sign
        if self.decimal is not None or not sign:
            return self.decimal or "."
        cell = cells[marks[f"?{sign}"]]
        whole = "" in marks and self.separator != ","
        if len(self.sure) != 1 and (sign == "," or whole or self.sure):
            readings = " or ".join(f"{value_of(cell, mark):.16g}" for mark in (sign, ",."[sign == ","]))
            raise UnreadableError(
                f"{self.where(marks[f'?{sign}'], column)}: {cell!r} can mean {readings}: add --decimal , or "
                "--decimal . to say which sign stands before decimals"
            )
        decimal = next(iter(self.sure), ".")
        if (sign, decimal) != (".", "."):
            name = "comma" if decimal == "," else "point"
            self.say(
                f"column {column}: {cell} is read as {value_of(cell, decimal):.16g}, as other columns have a "
                f"decimal {name}"
            )
        return decimal

    def _suspect(self, column: str, values: Numbers) -> None:
        """Say which numbers are most likely none."""
        known = values[~np.isnan(values)]
        for value in sorted({float(known.min()), float(known.max())}) if len(known) else ():
            if not _like_a_code(value):
                continue
            others = known[known != value]
            far = not len(others) or np.abs(others - value).min() > others.max() - others.min()
            above = value > 0 and len(others) > 0 and value < 2 * np.abs(others).max()
            if above or not far:
                continue
            spread = (
                f", far from its other values ({others.min():g} to {others.max():g})" if len(others) else ""
            )
            self.say(
                f"column {column} holds {value:.9g}{spread or ' and nothing else'}: if it stands for a "
                f"missing value, add --missing {value:.9g}"
            )


def _like_a_code(value: float) -> bool:
    """Whether programs write this number for a missing one: -999, 9999.9, -32768, 1e20, ..."""
    digits = f"{abs(value):.7g}".replace(".", "")
    nines = set(digits) == {"9"} and len(digits) >= (2 if value < 0 else 3)
    return nines or abs(value) in (999.25, 32767.0, 32768.0, 65535.0) or abs(value) >= 1e19


def is_all_words(cells: Sequence[str]) -> bool:
    """Whether a column without a single number holds words, and no numbers with a unit or infinite ones."""
    said = [cell[:LONGEST] for cell in cells if not is_empty(cell)]
    units = {match[1].strip() if (match := _UNIT.fullmatch(cell)) else None for cell in said}
    return not (len(units) == 1 and None not in units) and not any(map(_INFINITE.fullmatch, said))


def plain(value: float) -> str:
    """The shortest text that gives the same number; whole numbers without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))
