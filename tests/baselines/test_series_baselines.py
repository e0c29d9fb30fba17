"""What an imputation must beat, on tables that can be filled by hand."""

from __future__ import annotations

import numpy as np

from headwater.baselines.series import Climatology, column_mean, interpolated
from headwater.data.series import Table


def test_baselines() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [5.0, np.nan], [np.nan, np.nan]])
    gaps, mean = Table(values, np.array([0.0, 3.0, 4.0, 9.0]), ("a", "b")), np.array([0.0, 8.0])
    assert interpolated(gaps, mean).values.T.tolist() == [[1, 4, 5, 5], [8, 8, 8, 8]]
    assert column_mean(gaps, mean).values.T.tolist() == [[1, 0, 5, 0], [8, 8, 8, 8]]
    days = Table(np.array([[1.0], [2.0], [3.0], [np.nan]]), np.array([0.0, 12.0, 24.0, 36.0]), ("a",))
    usual = Climatology.of([days])
    assert usual.mean[[0, 12, 5], 0].tolist() == [2.0, 2.0, 2.0]
    filled = usual.fill(Table(np.array([[np.nan], [4.0]]), np.array([48.0, 60.0]), ("a",)))
    assert filled.values.tolist() == [[2.0], [4.0]]
