"""What CSDI answers: filled tables, tables of quantiles, and how they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headwater.data.series import Array, Table
from headwater.errors import need
from headwater.methods.base import Series
from headwater.methods.series.csdi.imputing import Draws, Imputed
from headwater.metrics.series import LEVELS, scores

Rows = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Imputation:
    """What `CSDI.apply` returns, in the units of the input; given cells are as they were."""

    filled: Series
    """Empty cells hold the median of the draws."""
    quantiles: Series
    """Columns `NAME q0.05` .. `NAME q0.95`, for each column with an empty cell (all, if none has)."""
    samples: list[Draws] = field(default_factory=list)
    """float32 (samples, M) per table: the draws of its M empty cells, row by row."""

    @classmethod
    def of(cls, tables: Sequence[Table], done: Sequence[Imputed]) -> Imputation:
        """The results of `impute` as tables."""
        pairs = list(zip(tables, done, strict=True))
        return cls(
            [table.filled(one.filled) for table, one in pairs],
            [quantile_table(table, one) for table, one in pairs],
            [one.samples for one in done],
        )


def quantile_table(table: Table, one: Imputed) -> Table:
    """19 columns for each column with an empty cell, or for all if none has; given cells repeat."""
    empty = np.isnan(table.values)
    chosen = [k for k in range(len(table.columns)) if empty[:, k].any() or not empty.any()]
    values = np.repeat(table.values[None], len(LEVELS), 0)
    values[:, empty] = one.quantiles
    names = [f"{table.columns[k]} q{level:g}" for k in chosen for level in LEVELS]
    wide = np.concatenate([values[:, :, k].T for k in chosen], 1)
    return table.filled(wide, tuple(names))


def read_quantiles(spread: Table, filled: Table) -> Array:
    """(19, L, K) from a table of `quantile_table`; a column without quantiles repeats its filled values."""
    place = {name: i for i, name in enumerate(spread.columns)}
    values = np.repeat(filled.values[None], len(LEVELS), 0)
    need(len(spread) == len(filled), f"{spread.name} has {len(spread)} rows, the filled table {len(filled)}")
    for k, column in enumerate(filled.columns):
        for i, level in enumerate(LEVELS):
            if (name := f"{column} q{level:g}") in place:
                values[i, :, k] = spread.values[:, place[name]]
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


def score(
    filled: Sequence[Table], quantiles: Sequence[Table], truth: Sequence[Table], series: Sequence[Table]
) -> dict[str, float]:
    """`CSDI.evaluate`. Raises UserError where there is no cell to score."""
    hidden = [hidden_cells(t, s) for t, s in zip(truth, series, strict=True)]
    need(any(h.any() for h in hidden), "no cell is empty in the series and known in the truth")
    spread = [read_quantiles(q, t) for q, t in zip(quantiles, filled, strict=True)]
    y = np.concatenate([t.values[h] for t, h in zip(truth, hidden, strict=True)])
    middle = np.concatenate([t.values[h] for t, h in zip(filled, hidden, strict=True)])
    levels = np.concatenate([s[:, h] for s, h in zip(spread, hidden, strict=True)], 1)
    return scores(levels, middle, y)
