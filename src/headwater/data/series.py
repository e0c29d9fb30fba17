"""Tables of numbers over time, as CSV files hold them: irregular stamps and empty cells are normal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from headwater.atomic import write_file
from headwater.errors import need

from .pictures import Limits, UnreadableError
from .stamps import NAMES, PARTS, joined, later, moment, plain

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_EMPTY = ("", "na", "n/a", "nan", "null", "none")
"""Cells without a value, whatever their case."""


@dataclass(frozen=True, eq=False)
class Table:
    """K columns of numbers at L times.

    Attributes:
        values: float64 (L, K), NaN where a cell is empty.
        times: float64 (L,), strictly rising. Dates count in hours since midnight of the first day, so that
            `times % 24` is the hour of the day; numbers are kept as they are.
        columns: K names.
        name: what to call it in reports and output files.
        stamps: how each time is written in the file, L texts or none; the cells of several time columns are
            joined by commas.
        heads: names of the time columns.
        left_out: columns of the file that hold words instead of numbers.
    """

    values: Array
    times: Array
    columns: tuple[str, ...]
    name: str = "series"
    stamps: tuple[str, ...] = ()
    heads: tuple[str, ...] = ("time",)
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.columns))
        held = tuple(self.values.shape)
        need(held == shape, f"{self.name}: values are {held}: give {shape}, as its times and columns say")
        count = len(self.stamps)
        need(count in (0, shape[0]), f"{self.name} has {count} stamps: give one for each of {shape[0]} times")

    def __len__(self) -> int:
        return len(self.times)

    def part(self, start: int, stop: int) -> Table:
        """Rows start .. stop - 1, as far as there are such."""
        rows = slice(max(0, start), max(0, stop))
        return replace(self, values=self.values[rows], times=self.times[rows], stamps=self.stamps[rows])

    def filled(self, values: Array, columns: tuple[str, ...] | None = None) -> Table:
        """The same times with other values (L, K), and other columns where given."""
        return replace(self, values=values, columns=columns or self.columns)

    def select(self, columns: Sequence[str]) -> Table:
        """Some of the columns, in this order."""
        return self.filled(self.values[:, [self.columns.index(c) for c in columns]], tuple(columns))

    def extended(self, rows: int) -> Table:
        """With so many empty rows after the last, at the usual step: the future, for a forecast.

        Raises UserError with fewer than two rows, which have no step.
        """
        need(rows >= 0, f"cannot add {rows} rows: give 0 or more")
        need(len(self) >= 2, f"{self.name} has {len(self)} rows: a step needs two or more")
        ahead = float(np.median(np.diff(self.times))) * np.arange(1, rows + 1)
        return replace(
            self,
            values=np.concatenate([self.values, np.full((rows, len(self.columns)), np.nan)]),
            times=np.concatenate([self.times, self.times[-1] + ahead]),
            stamps=self.stamps + tuple(later(self.stamps[-1], float(h)) for h in ahead if self.stamps),
        )


def read_table(path: Path | str, limits: Limits | None = None) -> Table:
    """Read a CSV file with a header, a time column and columns of numbers; empty cells become NaN.

    The time column is called time, timestamp, date, ...; or is the first, if it holds dates; or year, month,
    day and, if there are, hour and minute. Cells are separated by commas, semicolons or tabs.

    Raises:
        UnreadableError: if the file is missing, empty, too large or no text, has no time column or no
            numbers, times that do not rise, a word among numbers, or a column without any value.
    """
    path = Path(path)
    rows = _cells(path, limits or Limits())
    need_(len(rows) > 0, f"{path} is empty: give a CSV file with a header")
    _, head = rows.pop(0)
    head = [cell.strip() for cell in head]
    need_(len(rows) > 0, f"{path} has a header but no rows: give a CSV file with numbers below it")
    twice = next((h for i, h in enumerate(head) if h in head[:i]), None)
    need_(twice is None, f"{path} has two columns {twice!r}: rename one")
    for line, cells in rows:
        need_(len(cells) == len(head), f"{path}, line {line}, has {len(cells)} cells, the header {len(head)}:"
              " correct it")  # fmt: skip
    clock = _clock(head, rows[0][1], path)
    times = _times([(line, [cells[i] for i in clock]) for line, cells in rows], path)
    columns, values, words = [], [], []
    for i, name in enumerate(head):
        if i in clock:
            continue
        numbers = _numbers(name, [(line, cells[i].strip()) for line, cells in rows], path)
        if numbers is None:
            words.append(name)
        else:
            columns.append(name)
            values.append(numbers)
    need_(len(columns) > 0, f"{path} has no column of numbers beside the time: add one")
    stamps = tuple(",".join(cells[i].strip() for i in clock) for _, cells in rows)
    heads = tuple(head[i] for i in clock)
    return Table(np.stack(values, 1), times, tuple(columns), path.stem, stamps, heads, tuple(words))


def write_table(path: Path | str, table: Table) -> None:
    """Write a table as CSV, with the header and times that it was read with; NaN becomes an empty cell."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow([*table.heads, *table.columns])
    for row, time in enumerate(table.times.tolist()):
        stamp = table.stamps[row].split(",") if table.stamps else [plain(time)]
        cells = ["" if np.isnan(v) else plain(v) for v in table.values[row].tolist()]
        out.writerow([*stamp, *cells])
    write_file(path, text.getvalue())


def need_(condition: bool, sentence: str) -> None:
    """Raise UnreadableError(sentence) unless the condition holds."""
    if not condition:
        raise UnreadableError(sentence)


def _cells(path: Path, limits: Limits) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    need_(path.is_file(), f"{path} does not exist: check the path")
    size = path.stat().st_size
    need_(size <= limits.file_bytes, f"{path} has {size} bytes, more than {limits.file_bytes}: split it")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=separator, strict=True)
            return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError:
        raise UnreadableError(f"{path} is not UTF-8 text: save it as a CSV file") from None
    except csv.Error as error:
        raise UnreadableError(f"{path} is no CSV file ({error}): save it again") from None


def _clock(head: Sequence[str], cells: Sequence[str], path: Path) -> list[int]:
    """Indices of the time columns."""
    low = [name.lower() for name in head]
    if all(part in low for part in PARTS[:3]):
        return [low.index(part) for part in PARTS if part in low]
    for name in NAMES:
        if name in low:
            return [low.index(name)]
    need_(
        isinstance(moment(cells[0]), datetime), f"{path} has no time column: call one `time` or `timestamp`"
    )
    return [0]


def _times(rows: Sequence[tuple[int, Sequence[str]]], path: Path) -> Array:
    """Hours since midnight of the first day, or numbers."""
    first, found = None, []
    for line, cells in rows:
        at = joined(cells) if len(cells) > 1 else moment(cells[0])
        where = f"{path}, line {line}: {' '.join(cells)!r}"
        if at is None or at != at:
            raise UnreadableError(f"{where} is no time: write YYYY-MM-DD HH:MM or a number")
        first = at if first is None else first
        need_(_kind(at) == _kind(first), f"{where} is a time of another kind: write all in one way")
        if isinstance(at, datetime) and isinstance(first, datetime):
            midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
            found.append((at - midnight).total_seconds() / 3600)
        else:
            found.append(float(at))  # type: ignore[arg-type]
        rises = len(found) < 2 or found[-1] > found[-2]
        need_(rises, f"{where} is not after the time before it: sort the rows, each time once")
    return np.array(found, dtype=np.float64)


def _kind(at: object) -> tuple[type, bool]:
    return type(at), isinstance(at, datetime) and at.tzinfo is not None


def _numbers(name: str, cells: Sequence[tuple[int, str]], path: Path) -> Array | None:
    """A column (L,) with NaN for empty cells; None if it holds words only."""
    found, word = [], None
    for line, cell in cells:
        try:
            value = np.nan if cell.lower() in _EMPTY else float(cell)
        except ValueError:
            value, word = np.nan, word or (line, cell)
        if value in (np.inf, -np.inf):
            raise UnreadableError(f"{path}, line {line}, column {name}: {cell} is not finite: leave it empty")
        found.append(value)
    column = np.array(found, dtype=np.float64)
    empty = bool(np.isnan(column).all())
    if word is not None and empty:
        return None
    if word is not None:
        where = f"{path}, line {word[0]}, column {name}"
        raise UnreadableError(f"{where}: {word[1]!r} is no number: correct it or leave it empty")
    need_(not empty, f"{path}: column {name} has no value at all: fill some cells or remove it")
    return column
