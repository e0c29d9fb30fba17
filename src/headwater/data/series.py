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
from headwater.notes import note

from .cells import need_, read_cells
from .clocks import Order, holds_times, way_of
from .numbers import Decimal, Profile, Reader, is_all_words, mark_of, plain
from .pictures import Limits
from .stamps import Way
from .timecolumn import is_counter
from .timeline import read_times

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


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
            joined by tabs.
        heads: names of the time columns.
        left_out: columns of the file that are not read: they hold words or times, or count the rows.
        way: how `stamps` are written; none leaves it to them.
        separator, decimal: what parts the cells of the file and the decimals of its numbers.
    """

    values: Array
    times: Array
    columns: tuple[str, ...]
    name: str = "series"
    stamps: tuple[str, ...] = ()
    heads: tuple[str, ...] = ("time",)
    left_out: tuple[str, ...] = ()
    way: Way | None = None
    separator: str = ","
    decimal: Decimal = "."

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
        return replace(self, values=values, columns=self.columns if columns is None else columns)

    def select(self, columns: Sequence[str]) -> Table:
        """Some of the columns, in this order."""
        place = {name: i for i, name in enumerate(self.columns)}
        return self.filled(self.values[:, [place[name] for name in columns]], tuple(columns))

    def arranged(self, columns: Sequence[str]) -> Table:
        """These columns in this order; those that the table lacks are empty."""
        if self.columns == tuple(columns):
            return self
        place = {name: i for i, name in enumerate(self.columns)}
        values = np.full((len(self), len(columns)), np.nan)
        for i, name in enumerate(columns):
            if name in place:
                values[:, i] = self.values[:, place[name]]
        return self.filled(values, tuple(columns))

    @property
    def begin(self) -> datetime | None:
        """The date of the first row; None if times are plain numbers."""
        begin = (self.way or way_of(self.stamps[:1])).read(self.stamps[0]) if self.stamps else None
        return begin if isinstance(begin, datetime) else None

    @property
    def first_day(self) -> str:
        """The day whose midnight `times` count from, YYYY-MM-DD; "" if they are plain numbers."""
        return f"{self.begin:%Y-%m-%d}" if self.begin else ""

    def extended(self, rows: int) -> Table:
        """With so many empty rows after the last, at the usual step: the future, for a forecast.

        Steps of months and years follow the calendar, others are cut to what the stamps can express. Raises
        UserError with fewer than two rows, which have no step, and beyond the year 9999.
        """
        need(rows >= 0, f"cannot add {rows} rows: give 0 or more")
        need(len(self) >= 2, f"{self.name} has {len(self)} rows: a step needs two or more")
        ahead = [(float(step), "") for step in np.median(np.diff(self.times)) * np.arange(1, rows + 1)]
        if self.stamps and rows:
            ahead = (self.way or way_of(self.stamps)).after(self.stamps, [step for step, _ in ahead])
        return replace(
            self,
            values=np.concatenate([self.values, np.full((rows, len(self.columns)), np.nan)]),
            times=np.concatenate([self.times, self.times[-1] + np.array([step for step, _ in ahead])]),
            stamps=self.stamps + tuple(stamp for _, stamp in ahead if self.stamps),
        )


def read_table(
    path: Path | str,
    limits: Limits | None = None,
    *,
    missing: Sequence[float] = (),
    decimal: Decimal | None = None,
    time_column: str | None = None,
    date_order: Order | None = None,
) -> Table:
    """Read a CSV file with a header, a column of times and columns of numbers; empty cells become NaN.

    Encoding, separator, decimal sign, the time columns and how times are written are found from the whole
    file; what is assumed is noted (`headwater.notes`), and so is each column that is left out. What a file
    cannot say is asked for: missing, numbers that stand for a missing value; decimal, the sign before
    decimals; time_column, its name; date_order, where days and months can be confused. A column without any
    value is NaN throughout.

    Raises:
        UnreadableError: if the file is missing, too large, no text or of another format, has no header, rows
            of other lengths, no time column or several, no numbers, times that do not rise, a word among
            numbers, a number that is not finite in float32, or if it can mean two things.
    """
    path = Path(path)
    need(decimal in (None, ".", ","), f"--decimal is . or , and not {decimal!r}")
    need(date_order in (None, "dmy", "mdy", "ymd"), f"--date-order is dmy, mdy or ymd, not {date_order!r}")
    said = list[str]()  # not before the file has proved to be good
    cells = read_cells(path, limits or Limits(), said.append)
    at = read_times(cells, path, said.append, time_column, date_order, decimal)
    rest = {i: Profile.of(held) for i, held in enumerate(cells.columns) if i not in at.columns}
    sure = frozenset(sign for profile in rest.values() for sign in profile.sure)
    reader = Reader(path, said.append, cells.lines, sure, decimal, tuple(missing), cells.separator)
    columns, values, left_out = [], [], []
    for i, profile in rest.items():
        name, held = cells.head[i], profile.cells
        times = not profile.sure and holds_times(held)
        if times or (profile.word is not None and not profile.marks and is_all_words(held)):
            what = "times" if times else "words"
            said.append(f"column {name} holds {what}, not numbers: it is left out")
            left_out.append(name)
            continue
        numbers = reader.read(name, profile)
        if is_counter(i, name, numbers):
            said.append(f"column {name!r} counts the rows: it is left out")
            left_out.append(name)
            continue
        columns.append(name)
        values.append(numbers)
    need_(bool(columns), f"{path} has no column of numbers beside the time: add one")
    for what in dict.fromkeys(said):
        note(what, path.name)
    sign = decimal or ("," if sure == {","} else ".")
    stacked = np.stack(values, 1)
    heads = tuple(cells.head[i] for i in at.columns)
    return Table(
        stacked[::-1].copy() if at.newest_first else stacked,
        at.times, tuple(columns), path.stem, at.stamps, heads, tuple(left_out), at.way, cells.separator, sign,
    )  # fmt: skip


def write_table(path: Path | str, table: Table) -> None:
    """Write a table as CSV in UTF-8, as it was read: header, times, separator and decimal sign.

    NaN becomes an empty cell.
    """
    text = io.StringIO()
    out = csv.writer(text, delimiter=table.separator, lineterminator="\n")
    out.writerow([*table.heads, *table.columns])
    for row, time in enumerate(table.times.tolist()):
        stamp = [_written(time, table)]
        if table.stamps:
            stamp = table.stamps[row].split("\t") if len(table.heads) > 1 else [table.stamps[row]]
        out.writerow(
            [*stamp, *("" if np.isnan(v) else _written(v, table) for v in table.values[row].tolist())]
        )
    write_file(path, text.getvalue())


def _written(value: float, table: Table) -> str:
    """A number with the decimal sign of a table, so that it is read again without a question."""
    text = plain(value)
    if (table.decimal, table.separator) != (".", ",") and mark_of(text) == "?.":
        text += "0"  # 1,234 could be 1234
    return text.replace(".", table.decimal)
