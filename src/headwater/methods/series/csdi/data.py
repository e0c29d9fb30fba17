"""Tables as CSDI reads and writes them: windows, the cells that training hides, tables of quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.data.series import Array, Table
from headwater.errors import need
from headwater.metrics.series import LEVELS
from headwater.noise import Stream

Strategy = Literal["random", "historical", "mix", "test"]
Rows = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def check(tables: Sequence[Table], columns: tuple[str, ...] | None = None) -> None:
    """Raises UserError for no table, an empty one, one without any value, or other columns."""
    need(len(tables) > 0, "there is no series: give at least one table")
    wanted = columns or tables[0].columns
    for table in tables:
        need(len(table) > 0, f"{table.name} has no rows: give a table with numbers")
        need(
            table.columns == wanted,
            f"{table.name} has the columns {', '.join(table.columns)}: give exactly {', '.join(wanted)}",
        )
        full = bool(np.isfinite(table.values).any())
        need(full, f"{table.name} has no value at all: give a table with some numbers")


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


def places_of(tables: Sequence[Table], length: int, overlap: int) -> list[Place]:
    """The windows that hold an empty cell to answer for."""
    found = []
    for i, table in enumerate(tables):
        before = np.concatenate([[0], np.isnan(table.values).sum(1).cumsum()]).tolist()
        for j, (start, first, stop) in enumerate(cover(len(table), length, overlap)):
            if before[stop] > before[first]:
                found.append(Place(i, j, start, first, stop, before[first]))
    return found


def hide(observed: Tensor, strategy: Strategy, horizon: int, draws: Stream) -> Tensor:
    """The given cells among the observed ones of a batch, (B, K, L) bool; the others are the targets (Tashiro
    et al. 2021, sec. 4.3).

    random: all but a share drawn for each item. historical: all that the item before (the last, for the
    first) has too, so that gaps are shaped like real ones. mix: a coin per item between the two. test: all
    but the last `horizon` times.
    """
    if strategy == "test":
        given = observed.clone()
        given[..., observed.shape[-1] - horizon :] = False
        return given
    historical, like = observed & observed.roll(1, 0), observed.float()
    if strategy == "historical":
        return historical
    keys, ratio = draws.uniform(like).flatten(1), draws.uniform(like[:, 0, 0])
    flat = observed.flatten(1)
    order = keys.masked_fill(~flat, -1.0).argsort(1, descending=True)
    hidden = order.argsort(1) < (flat.sum(1) * ratio).round()[:, None]
    random = (flat & ~hidden).view_as(observed)
    if strategy == "random":
        return random
    coin = draws.uniform(like[:, 0, 0]) > 0.5
    return random.where(coin[:, None, None], historical)


def quantile_table(table: Table, quantiles: Array) -> Table:
    """19 columns for each column with an empty cell, or for all if none has; given cells repeat.

    quantiles: (19, M) of the M empty cells.
    """
    empty = np.isnan(table.values)
    chosen = [k for k in range(len(table.columns)) if empty[:, k].any() or not empty.any()]
    values = np.repeat(table.values[None], len(LEVELS), 0)
    values[:, empty] = quantiles
    names = [f"{table.columns[k]} q{level:g}" for k in chosen for level in LEVELS]
    return table.filled(np.concatenate([values[:, :, k].T for k in chosen], 1), tuple(names))


def read_quantiles(quantiles: Table, filled: Table) -> Array:
    """(19, L, K) from a table of `quantile_table`; a column without quantiles repeats its filled values."""
    need(
        len(quantiles) == len(filled),
        f"{quantiles.name} has {len(quantiles)} rows, the filled table {len(filled)}",
    )
    values = np.repeat(filled.values[None], len(LEVELS), 0)
    place = {name: i for i, name in enumerate(quantiles.columns)}
    for k, column in enumerate(filled.columns):
        for i, level in enumerate(LEVELS):
            if (name := f"{column} q{level:g}") in place:
                values[i, :, k] = quantiles.values[:, place[name]]
    return values


def hidden_cells(truth: Table, series: Table) -> Rows:
    """Cells (L, K) to score: known in the truth, empty in the series or beyond its end (a forecast).

    Raises UserError for other columns or a truth shorter than the series.
    """
    need(truth.columns == series.columns, f"{truth.name}: the truth has other columns than the series")
    later = len(truth) - len(series)
    need(later >= 0, f"{truth.name}: the truth has {len(truth)} rows, the series {len(series)}")
    empty = np.concatenate([np.isnan(series.values), np.ones((later, len(series.columns)), bool)])
    return np.isfinite(truth.values) & empty
