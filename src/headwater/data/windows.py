"""Tables as networks read them: windows of so many rows, normalised, and draws put back into the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.data.series import Array, Table
from headwater.errors import UserError, need
from headwater.notes import note

Draws = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

PERIODS = (24.0, 7 * 24.0, 365.2425 * 24.0)
"""Hours of a day, a week and a year."""
_SKEWED = 1.0
"""Columns whose third moment is larger, in deviations, are read by their logarithm if that is asked for."""


def check(tables: Sequence[Table]) -> None:
    """Raises UserError for no table, an empty one, one without any value, or different columns."""
    need(len(tables) > 0, "there is no series: give at least one table")
    wanted = tables[0].columns
    for table in tables:
        need(len(table) > 0, f"{table.name} has no rows: give a table with numbers")
        need(
            table.columns == wanted,
            f"{table.name} has the columns {_some(table.columns)}: give exactly {_some(wanted)}",
        )
        full = bool(np.isfinite(table.values).any())
        need(full, f"{table.name} has no value at all: give a table with some numbers")


def in_order(tables: Sequence[Table], columns: tuple[str, ...]) -> list[Table]:
    """Tables with exactly these columns: those that one lacks are empty, others left out, and both is noted.

    Raises UserError for a table that has none of the columns, or lacks one and has another in its place.
    """
    done = []
    for table in tables:
        held, wanted = set(table.columns), set(columns)
        lacks = [name for name in columns if name not in held]
        spare = [name for name in table.columns if name not in wanted]
        need(
            not (lacks and spare),
            f"{table.name} has the columns {_some(spare)}, which were not fitted, and lacks {_some(lacks)}: "
            "rename what is the same, and remove the others",
        )
        for name in spare:
            note(f"column {name} was not fitted: it is left out", table.name)
        for name in lacks:
            note(f"there is no column {name}: it is filled from the others", table.name)
        done.append(table.arranged(columns))
        empty = np.isnan(done[-1].values).all(0) if len(table) else np.zeros(len(columns), bool)
        for name, silent in zip(columns, empty.tolist(), strict=True):
            if silent and name in held and not empty.all():
                note(f"column {name} has no value: it is filled from the others", table.name)
    return done


def say_other_steps(tables: Sequence[Table], usual: float) -> None:
    """Note tables whose rows are much closer or farther apart than those that were fitted on."""
    for table in tables:
        step = float(np.median(np.diff(table.times))) if len(table) > 1 else usual
        if not usual / 1.5 <= step <= usual * 1.5:
            note(
                f"its rows are {step:g} apart, those of the fit were {usual:g}: what was learnt may not hold",
                table.name,
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")


@dataclass(frozen=True)
class Scale:
    """Units of the columns: mean and standard deviation (K,) of training values, and the time step.

    offset: (K,), above 0 for columns that are read as log(x + offset), of which mean and std are then; 0, or
    no number at all, for the others. whole: which columns hold whole numbers, to which draws are rounded.
    """

    mean: Array
    std: Array
    step: float
    offset: Array = field(default_factory=lambda: np.zeros(0))
    whole: tuple[bool, ...] = ()

    @classmethod
    def of(cls, tables: Sequence[Table], log: bool = False, integers: bool = False) -> Scale:
        """log: read columns of skewed numbers from 0 on by their logarithm. integers: find those of whole
        numbers. Raises UserError for a column without any value in all tables."""
        values = np.concatenate([t.values for t in tables])
        for name, count in zip(tables[0].columns, np.isfinite(values).sum(0), strict=True):
            need(count > 0, f"column {name} has no value at all: remove it or fill some cells")
        steps = np.concatenate([np.diff(t.times) for t in tables])
        usual = float(np.median(steps)) if len(steps) else 1.0
        whole = tuple(((values == values.round()) | np.isnan(values)).all(0).tolist()) if integers else ()
        offset = _offsets(values) if log else np.zeros(0)
        bent = cls(np.zeros(1), np.ones(1), usual, offset).normal(values)
        mean, std = np.nanmean(bent, 0), np.nanstd(bent, 0)
        return cls(mean, np.where(std > 1e-9 * (1 + np.abs(mean)), std, 1.0), usual, offset, whole)

    def normal(self, values: Array) -> Array:
        """Values (.., K) in the units of the tables as a network reads them."""
        if (bent := self.offset > 0).any():
            # What a fit has never met, a number below 0, reads as little more than 0.
            logs = np.log(np.maximum(values + self.offset, np.where(bent, self.offset / 100, 1.0)))
            values = np.where(bent, logs, values)
        return (values - self.mean) / self.std

    def units(self, normal: Array) -> Array:
        """What a network answered, (.., K), in the units of the tables."""
        values = normal * self.std + self.mean
        if (bent := self.offset > 0).any():
            back = np.exp(np.minimum(values, 80.0)) - self.offset  # e^80 still is a float32
            values = np.where(bent, np.maximum(back, 0.0), values)
        return np.where(self.whole, values.round(), values) if any(self.whole) else values


def _offsets(values: Array) -> Array:
    """What is added before the logarithm, a tenth of the median above 0; 0 for columns without a skew."""
    mean, std = np.nanmean(values, 0), np.nanstd(values, 0)
    skewed = np.nanmean((values - mean) ** 3, 0) > _SKEWED * std**3
    chosen = skewed & (np.nanmin(values, 0) >= 0)
    return np.array(
        [
            np.nanmedian(column[column > 0]) / 10 if take else 0.0
            for column, take in zip(values.T, chosen.tolist(), strict=True)
        ]
    )


@dataclass(frozen=True, eq=False)
class Windows:
    """A batch: values (B, K, L) float32, normalised, 0 where `observed` (B, K, L) bool is False; times
    (B, L) float32 since each window's first row, in steps; dates (B, L, 6) as `calendar` has them, if the
    network reads them."""

    values: Tensor
    observed: Tensor
    times: Tensor
    dates: Tensor | None = None

    def to(self, device: str) -> Windows:
        parts = (self.values, self.observed, self.times, self.dates)
        return Windows(*(None if v is None else v.to(device) for v in parts))  # pyright: ignore[reportArgumentType]

    @property
    def clock(self) -> dict[str, Tensor]:
        """The dates as a network takes them: by their name, or not at all."""
        return {} if self.dates is None else {"dates": self.dates}


def cut(
    places: Sequence[tuple[Table, int]],
    length: int,
    scale: Scale,
    dated: bool = False,
    dither: Array | None = None,
) -> Windows:
    """Windows of `length` rows from the given starts; rows beyond a table's end are missing.

    dated: with `dates`. dither: (B, L, K) numbers from 0 to 1; whole numbers become values evenly within
    half a unit of them.
    """
    values = np.full((len(places), length, len(scale.mean)), np.nan)
    times = np.empty((len(places), length))
    for i, (table, start) in enumerate(places):
        rows = table.values[start : start + length]
        if dither is not None and any(scale.whole):
            rows = rows + np.where(scale.whole, dither[i, : len(rows)] - 0.5, 0.0)
        values[i, : len(rows)] = scale.normal(rows)
        stamps = table.times[start : start + length]
        times[i, : len(rows)] = (stamps - stamps[0]) / scale.step
        times[i, len(rows) :] = times[i, len(rows) - 1] + np.arange(1, length - len(rows) + 1)
    observed = np.isfinite(values)
    held = np.where(observed, values, 0.0).astype(np.float32)
    turned = [torch.from_numpy(np.ascontiguousarray(v.transpose(0, 2, 1))) for v in (held, observed)]
    dates = None
    if dated:
        hours = [
            (table, table.times[s] + t * scale.step) for (table, s), t in zip(places, times, strict=True)
        ]
        dates = torch.from_numpy(np.stack([calendar(*of) for of in hours]).astype(np.float32))
    return Windows(turned[0], turned[1], torch.from_numpy(times.astype(np.float32)), dates)


def calendar(table: Table, times: Array) -> Array:
    """Where in the day, week and year the given times (L,) of a table lie, (L, 6): sine and cosine of each.

    Raises UserError for a table whose times are plain numbers.
    """
    begin = table.begin
    if begin is None:
        raise UserError(f"{table.name} has no dates, which the calendar is read from: give dates as times")
    day = begin.hour + begin.minute / 60 + begin.second / 3600
    since = (day, 24 * begin.weekday() + day, 24 * (begin.timetuple().tm_yday - 1) + day)
    hours = np.stack([(times - table.times[0] + s) / p for s, p in zip(since, PERIODS, strict=True)], 1)
    return np.concatenate([np.sin(2 * np.pi * hours), np.cos(2 * np.pi * hours)], 1)


def windows_of(tables: Sequence[Table], length: int) -> list[tuple[Table, int]]:
    """Every window of the tables that holds a value, one from each row on: what is trained on."""
    found = []
    for table in tables:
        filled = np.concatenate([[0], np.isfinite(table.values).any(axis=1).cumsum()])
        for start in range(max(len(table) - length, 0) + 1):
            if filled[min(start + length, len(table))] > filled[start]:
                found.append((table, start))
    return found


def spaced_windows(table: Table, length: int, n: int) -> list[Table]:
    """n windows evenly over a table: what is tested on, so far apart that they are independent."""
    starts = np.linspace(0, len(table) - length, n).round().astype(int)
    return [replace(table.part(s, s + length), name=f"window {i}") for i, s in enumerate(starts.tolist())]


def cover(rows: int, length: int, overlap: int, horizon: int = 0) -> list[tuple[int, int, int]]:
    """Windows (start, first, stop) that cover 0 .. rows - 1; each answers for its rows first .. stop - 1.

    Neighbours share `overlap` rows, the last window ends with the table (and may share more). Of shared
    rows each window answers for the half that is farther from its own edge; but the last one answers for
    all of the last `horizon` rows, a forecast, so that each path of it is one draw.
    """
    starts = [*range(0, max(rows - length, 0), length - overlap), max(rows - length, 0)]
    seams = [min((b + a + length + 1) // 2, rows - horizon) for a, b in pairwise(starts)]
    return list(zip(starts, [0, *seams], [*seams, rows], strict=True))


class Place(NamedTuple):
    """Window `number` of a table, from row `start` on; it answers for the empty cells of rows first ..
    stop - 1, of which the first is cell `cell` among the empty ones of the table."""

    table: int
    number: int
    start: int
    first: int
    stop: int
    cell: int


class EmptyCells:
    """The empty cells of tables: the windows that answer for them, and draws of what they may have held.

    places: the windows with an empty cell to answer for. draws: float32 (samples, M) for each table, of its
    M empty cells, row by row; `put` fills them in.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        samples: int,
        length: int,
        overlap: int,
        scale: Scale,
        horizon: int = 0,
        dated: bool = False,
    ) -> None:
        self.tables, self.length, self.scale, self.dated = tables, length, scale, dated
        self.draws: list[Draws] = []
        self.places: list[Place] = []
        for i, table in enumerate(tables):
            before = np.concatenate([[0], np.isnan(table.values).sum(1).cumsum()]).tolist()
            self.draws.append(np.empty((samples, before[-1]), np.float32))
            for j, (start, first, stop) in enumerate(cover(len(table), length, overlap, horizon)):
                if before[stop] > before[first]:
                    self.places.append(Place(i, j, start, first, stop, before[first]))

    def windows(self, items: range) -> Windows:
        """Those of some places."""
        starts = [(self.tables[self.places[i].table], self.places[i].start) for i in items]
        return cut(starts, self.length, self.scale, self.dated)

    def put(self, items: range, draws: range, x: Tensor) -> None:
        """Keep what was drawn of some places, x (items * draws, K, L), normalised, a window's together."""
        for i, window in zip(items, x.unflatten(0, (len(items), -1)), strict=True):
            place = self.places[i]
            rows = slice(place.first - place.start, place.stop - place.start)
            values = window.cpu().double().numpy().transpose(0, 2, 1)[:, rows]
            empty = np.isnan(self.tables[place.table].values[place.first : place.stop])
            cells = self.scale.units(values)[:, empty]
            which = slice(draws.start, draws.stop)
            self.draws[place.table][which, place.cell : place.cell + cells.shape[1]] = cells
