"""What an imputation must beat: straight lines, the column's mean, the hour's mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headwater.data.gaps import straight
from headwater.data.series import Array, Table


def interpolated(table: Table, mean: Array) -> Table:
    """Straight lines in time between the nearest given cells, flat beyond the ends; `mean` (K,) in columns
    without any."""
    lines = straight(table)
    return table.filled(np.where(np.isnan(lines), mean, lines))


def column_mean(table: Table, mean: Array) -> Table:
    """The training mean (K,) of each column."""
    return table.filled(np.where(np.isnan(table.values), mean, table.values))


@dataclass(frozen=True, eq=False)
class Climatology:
    """Means (hours, K) of training values by the hour of the day."""

    mean: Array

    @classmethod
    def of(cls, tables: Sequence[Table], hours: int = 24) -> Climatology:
        """times count in hours from a midnight. An hour without values takes the column's mean."""
        values = np.concatenate([t.values for t in tables])
        hour = np.concatenate([_hour(t, hours) for t in tables])
        rest = np.nanmean(values, 0)
        found = np.tile(rest, (hours, 1))
        for h in range(hours):
            here = values[hour == h]
            seen = np.isfinite(here)
            some = seen.any(0)
            found[h, some] = np.where(seen, here, 0).sum(0)[some] / seen.sum(0)[some]
        return cls(found)

    def fill(self, table: Table) -> Table:
        """Each empty cell gets the mean of its hour."""
        usual = self.mean[_hour(table, len(self.mean))]
        return table.filled(np.where(np.isnan(table.values), usual, table.values))


def _hour(table: Table, hours: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.floor(table.times % hours).astype(np.int64)
