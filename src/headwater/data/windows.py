"""Tables as networks read them: windows of so many rows, normalised, and draws put back into the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.data.series import Array, Table
from headwater.errors import need
from headwater.notes import note

Draws = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


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
    """Units of the columns: mean and standard deviation (K,) of training values, and the time step."""

    mean: Array
    std: Array
    step: float

    @classmethod
    def of(cls, tables: Sequence[Table]) -> Scale:
        """Raises UserError for a column without any value in all tables."""
        values = np.concatenate([t.values for t in tables])
        for name, count in zip(tables[0].columns, np.isfinite(values).sum(0), strict=True):
            need(count > 0, f"column {name} has no value at all: remove it or fill some cells")
        mean, std = np.nanmean(values, 0), np.nanstd(values, 0)
        steps = np.concatenate([np.diff(t.times) for t in tables])
        usual = float(np.median(steps)) if len(steps) else 1.0
        return cls(mean, np.where(std > 1e-9 * (1 + np.abs(mean)), std, 1.0), usual)


@dataclass(frozen=True, eq=False)
class Windows:
    """A batch: values (B, K, L) float32, normalised, 0 where `observed` (B, K, L) bool is False; times
    (B, L) float32 since each window's first row, in steps."""

    values: Tensor
    observed: Tensor
    times: Tensor

    def to(self, device: str) -> Windows:
        return Windows(*(v.to(device) for v in (self.values, self.observed, self.times)))


def cut(places: Sequence[tuple[Table, int]], length: int, scale: Scale) -> Windows:
    """Windows of `length` rows from the given starts; rows beyond a table's end are missing."""
    values = np.full((len(places), length, len(scale.mean)), np.nan)
    times = np.empty((len(places), length))
    for i, (table, start) in enumerate(places):
        rows = table.values[start : start + length]
        values[i, : len(rows)] = (rows - scale.mean) / scale.std
        stamps = table.times[start : start + length]
        times[i, : len(rows)] = (stamps - stamps[0]) / scale.step
        times[i, len(rows) :] = times[i, len(rows) - 1] + np.arange(1, length - len(rows) + 1)
    observed = np.isfinite(values)
    held = np.where(observed, values, 0.0).astype(np.float32)
    turned = [torch.from_numpy(np.ascontiguousarray(v.transpose(0, 2, 1))) for v in (held, observed)]
    return Windows(turned[0], turned[1], torch.from_numpy(times.astype(np.float32)))


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


def cover(rows: int, length: int, overlap: int) -> list[tuple[int, int, int]]:
    """Windows (start, first, stop) that cover 0 .. rows - 1; each answers for its rows first .. stop - 1.

    Neighbours share `overlap` rows, the last window ends with the table (and may share more). Of shared
    rows each window answers for the half that is farther from its own edge.
    """
    starts = [*range(0, max(rows - length, 0), length - overlap), max(rows - length, 0)]
    seams = [(b + a + length + 1) // 2 for a, b in pairwise(starts)]
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
        self, tables: Sequence[Table], samples: int, length: int, overlap: int, scale: Scale
    ) -> None:
        self.tables, self.length, self.scale = tables, length, scale
        self.draws: list[Draws] = []
        self.places: list[Place] = []
        for i, table in enumerate(tables):
            before = np.concatenate([[0], np.isnan(table.values).sum(1).cumsum()]).tolist()
            self.draws.append(np.empty((samples, before[-1]), np.float32))
            for j, (start, first, stop) in enumerate(cover(len(table), length, overlap)):
                if before[stop] > before[first]:
                    self.places.append(Place(i, j, start, first, stop, before[first]))

    def windows(self, items: range) -> Windows:
        """Those of some places."""
        starts = [(self.tables[self.places[i].table], self.places[i].start) for i in items]
        return cut(starts, self.length, self.scale)

    def put(self, items: range, draws: range, x: Tensor) -> None:
        """Keep what was drawn of some places, x (items * draws, K, L), normalised, a window's together."""
        for i, window in zip(items, x.unflatten(0, (len(items), -1)), strict=True):
            place = self.places[i]
            rows = slice(place.first - place.start, place.stop - place.start)
            values = window.cpu().double().numpy().transpose(0, 2, 1)[:, rows]
            empty = np.isnan(self.tables[place.table].values[place.first : place.stop])
            cells = (values * self.scale.std + self.scale.mean)[:, empty]
            which = slice(draws.start, draws.stop)
            self.draws[place.table][which, place.cell : place.cell + cells.shape[1]] = cells
