"""Windows of one length, cut out of tables of any length, and how their results are joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from headwater.data.series import Array, Table
from headwater.errors import need


@dataclass(frozen=True)
class Scale:
    """What columns are measured in: mean and standard deviation (K,) of training values, and the time step.

    Only tables given to `of` count; the reference also counts test series and hidden cells.
    """

    mean: Array
    std: Array
    step: float

    @classmethod
    def of(cls, tables: Sequence[Table]) -> Scale:
        """Raises UserError for a column without any value in all tables."""
        values = np.concatenate([t.values for t in tables])
        seen = np.isfinite(values).sum(0)
        for name, count in zip(tables[0].columns, seen, strict=True):
            need(count > 0, f"column {name} has no value at all: remove it or fill some cells")
        mean, std = np.nanmean(values, 0), np.nanstd(values, 0)
        steps = np.concatenate([np.diff(t.times) for t in tables])
        return cls(mean, np.where(std > 1e-9 * (1 + np.abs(mean)), std, 1.0), step_of(steps))


def step_of(differences: Array) -> float:
    """The usual time step: the median; 1 where there is none."""
    return float(np.median(differences)) if len(differences) else 1.0


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
    return Windows(
        torch.from_numpy(np.ascontiguousarray(held.transpose(0, 2, 1))),
        torch.from_numpy(np.ascontiguousarray(observed.transpose(0, 2, 1))),
        torch.from_numpy(times.astype(np.float32)),
    )


def windows_of(tables: Sequence[Table], length: int) -> list[tuple[Table, int]]:
    """Every window of the tables that holds a value, one from each row on: what is trained on."""
    found = []
    for table in tables:
        seen = np.concatenate([[0], np.isfinite(table.values).any(axis=1).cumsum()])
        for start in range(max(len(table) - length, 0) + 1):
            if seen[min(start + length, len(table))] > seen[start]:
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
