"""Gaps in tables: hidden to see how they are filled, and filled with quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headwater.data.series import Array, Table
from headwater.data.windows import Draws
from headwater.errors import need
from headwater.notes import note

Cells = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def hide_cells(truth: Table, share: float, seed: int) -> Table:
    """Hide a share of the known cells, at least one and never all: a function of the arguments alone."""
    known = np.flatnonzero(np.isfinite(truth.values))
    hidden = min(max(1, round(share * len(known))), len(known) - 1)
    values = truth.values.copy()
    values.flat[np.random.default_rng(seed).permutation(known)[:hidden]] = np.nan
    return truth.filled(values)


def hide_rows(truth: Table, rows: int, seed: int) -> Table:
    """Hide a run of so many rows of all columns, as when a logger fails; its place depends on the seed."""
    start = int(np.random.default_rng(seed).integers(0, max(len(truth) - rows, 0) + 1))
    values = truth.values.copy()
    values[start : start + rows] = np.nan
    return truth.filled(values)


def comparable(truth: Table, series: Table, filled: Table) -> tuple[Table, Table]:
    """Truth and series with the columns of what was filled; those that one lacks are empty.

    Columns that the truth lacks are noted. Raises UserError for a truth with none of the columns, or whose
    rows are of other times than those of the series.
    """
    lacks = [name for name in filled.columns if name not in set(truth.columns)]
    need(len(lacks) < len(filled.columns), f"{truth.name}: the truth has other columns than the series")
    for name in lacks:
        note(f"the truth has no column {name}: it is not scored", truth.name)
    rows = min(len(truth), len(series))
    same = np.allclose(truth.times[:rows], series.times[:rows], rtol=1e-9, atol=1e-6)
    days = {truth.first_day, series.first_day} - {""}
    need(
        bool(same) and len(days) < 2,
        f"{truth.name}: the truth has rows of other times than the series: give the same rows in both",
    )
    return truth.arranged(filled.columns), series.arranged(filled.columns)


def hidden_cells(truth: Table, series: Table) -> Cells:
    """Cells (L, K) to score: known in the truth, empty in the series or beyond its end (a forecast).

    Raises UserError for other columns or a truth shorter than the series.
    """
    need(truth.columns == series.columns, f"{truth.name}: the truth has other columns than the series")
    later = len(truth) - len(series)
    need(later >= 0, f"{truth.name}: the truth has {len(truth)} rows, the series {len(series)}")
    empty = np.concatenate([np.isnan(series.values), np.ones((later, len(series.columns)), bool)])
    return np.isfinite(truth.values) & empty


def straight(table: Table, rows: int = 0) -> Array:
    """Straight lines in time between the nearest given cells, flat beyond the ends, (L, K); NaN in columns
    without any. rows: how many there are to be, where a forecast adds some at the table's step."""
    table = table.extended(rows - len(table)) if rows > len(table) else table
    values = table.values.copy()
    for column in values.T:
        seen = np.isfinite(column)
        if seen.any():
            column[~seen] = np.interp(table.times[~seen], table.times[seen], column[seen])
    return values


def imputed(table: Table, quantiles: Array, levels: Sequence[float]) -> tuple[Table, Table]:
    """A table with the median in its empty cells, and a table of their quantiles.

    quantiles: (levels, M) of the M empty cells, row by row; one of the levels is 0.5. The second table has a
    column `NAME q0.05` for each level of each column with an empty cell, or of all if none has; given cells
    repeat.
    """
    empty = np.isnan(table.values)
    values = np.repeat(table.values[None], len(levels), 0)
    values[:, empty] = quantiles
    chosen = [k for k in range(len(table.columns)) if empty[:, k].any() or not empty.any()]
    names = [f"{table.columns[k]} q{level:g}" for k in chosen for level in levels]
    spread = table.filled(np.concatenate([values[:, :, k].T for k in chosen], 1), tuple(names))
    return table.filled(values[list(levels).index(0.5)].copy()), spread


def read_quantiles(quantiles: Table, filled: Table, levels: Sequence[float]) -> Array:
    """Quantiles (levels, L, K) as `imputed` wrote them; a column without any repeats its filled values."""
    need(
        len(quantiles) == len(filled),
        f"{quantiles.name} has {len(quantiles)} rows, the filled table {len(filled)}",
    )
    values = np.repeat(filled.values[None], len(levels), 0)
    place = {name: i for i, name in enumerate(quantiles.columns)}
    for k, column in enumerate(filled.columns):
        for i, level in enumerate(levels):
            if (name := f"{column} q{level:g}") in place:
                values[i, :, k] = quantiles.values[:, place[name]]
    return values


def spread_out(filled: Table, series: Table, draws: Draws) -> Array:
    """Draws (samples, M) of the M cells that are empty in a table or beyond its end, as whole tables
    (samples, L, K). Raises UserError for draws of another table."""
    values = np.repeat(filled.values[None], len(draws), 0)
    values[:, _drawn(filled, series, draws)] = draws
    return values


def row_sums(filled: Table, series: Table, draws: Draws) -> Array:
    """The sum of all columns in each of the tables that `spread_out` gives, (samples, L)."""
    empty = _drawn(filled, series, draws)
    sums = np.repeat(np.where(empty, 0.0, filled.values).sum(1)[:, None], len(draws), 1)
    np.add.at(sums, np.nonzero(empty)[0], draws.T)
    return sums.T


def _drawn(filled: Table, series: Table, draws: Draws) -> Cells:
    """The cells (L, K) that draws are of."""
    empty = np.ones(filled.values.shape, bool)
    empty[: len(series)] = np.isnan(series.values)
    count = int(empty.sum())
    need(
        draws.ndim == 2 and draws.shape[1] == count,
        f"{filled.name} has {count} empty cells, and draws are {draws.shape}: give its own draws",
    )
    return empty
