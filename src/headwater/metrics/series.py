"""Scores of imputations and forecasts: quantile losses, errors of the median, coverage of intervals.

samples: (S, ...) draws; target, where: (...), `where` marking the cells that count. Units are the data's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVELS: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""The 19 levels of CRPS in the field: 0.05 .. 0.95."""


def quantiles(
    samples: ArrayLike,
    levels: Sequence[float] = LEVELS,
    positions: Literal["weibull", "linear", "nearest"] = "weibull",
) -> Floats:
    """Quantiles of samples (S, ...), (len(levels), ...); 0.5: the median.

    weibull: the i-th of S draws stands for the level i / (S + 1), so that intervals of exchangeable draws
    cover what they say. linear: for (i - 1) / (S - 1), as the field's CRPS; 100 draws then cover 88.2 % of
    90. nearest: the draw nearest to these positions, as in GluonTS. Levels beyond the outermost draw take its
    value.
    """
    return np.quantile(np.asarray(samples, np.float64), levels, axis=0, method=positions)


def quantile_loss(forecast: ArrayLike, target: ArrayLike, where: ArrayLike, level: float) -> float:
    """2 sum |(F - y) (1[y <= F] - level)| over the cells that count (weights may be fractions)."""
    f, y, w = (np.asarray(v, np.float64) for v in (forecast, target, where))
    seen = w > 0
    f, y, w = f[seen], y[seen], w[seen]
    return float(2 * np.abs((f - y) * w * ((y <= f) - level)).sum())


def crps(forecast: ArrayLike, target: ArrayLike, where: ArrayLike, levels: Sequence[float] = LEVELS) -> float:
    """Normalised quantile loss, the field's CRPS: mean over levels of `quantile_loss` / sum |y|.

    forecast: (len(levels), ...) quantiles. Tashiro et al. 2021, appendix; 0 is perfect. NaN if all y are 0.
    """
    y, w = np.asarray(target, np.float64), np.asarray(where, np.float64)
    total = float(np.abs(y[w > 0] * w[w > 0]).sum())
    losses = [quantile_loss(f, y, w, q) for f, q in zip(np.asarray(forecast), levels, strict=True)]
    return float(np.mean(losses)) / total if total > 0 else float("nan")


def pinball(
    forecast: ArrayLike, target: ArrayLike, where: ArrayLike, levels: Sequence[float] = LEVELS
) -> float:
    """CRPS in the data's units: twice the quantile loss, mean over levels and the cells that count.

    forecast: (len(levels), ...) quantiles. For a point forecast, the same at all levels, it is the `mae`.
    """
    seen = np.asarray(where) > 0
    f, y = np.asarray(forecast, np.float64)[:, seen], np.asarray(target, np.float64)[seen]
    losses = (f - y) * ((y <= f) - np.asarray(levels, np.float64)[:, None])
    return float((2 * np.abs(losses)).mean())


def crps_sum(samples: ArrayLike, target: ArrayLike, where: ArrayLike, axis: int = -1) -> float:
    """CRPS of the sum over features: `axis` of target (...). Cells that are not to count still add up.

    A sum counts as much as the share of its cells that does, as in the reference.
    """
    axis = axis % np.ndim(target)
    total = np.asarray(samples, np.float64).sum(axis + 1)
    share = np.asarray(where, np.float64).mean(axis)
    return crps(quantiles(total, LEVELS, "linear"), np.asarray(target, np.float64).sum(axis), share)


def mae(estimate: ArrayLike, target: ArrayLike, where: ArrayLike) -> float:
    """Mean absolute error over the cells that count; NaN where none does."""
    error = _errors(estimate, target, where)
    return float(np.abs(error).mean()) if error.size else float("nan")


def rmse(estimate: ArrayLike, target: ArrayLike, where: ArrayLike) -> float:
    """Root mean squared error over the cells that count; NaN where none does."""
    error = _errors(estimate, target, where)
    return float(np.sqrt(np.square(error).mean())) if error.size else float("nan")


def coverage(low: ArrayLike, high: ArrayLike, target: ArrayLike, where: ArrayLike) -> float:
    """Share of the cells that count whose value lies in [low, high]; NaN where none counts."""
    seen = np.asarray(where) > 0
    y = np.asarray(target)[seen]
    inside = (np.asarray(low)[seen] <= y) & (y <= np.asarray(high)[seen])
    return float(inside.mean()) if y.size else float("nan")


def calibration(forecast: ArrayLike, target: ArrayLike, where: ArrayLike) -> Floats:
    """Share of cells at or below each quantile, (levels,): equal to the levels for a calibrated forecast."""
    seen = np.asarray(where) > 0
    y = np.asarray(target)[seen]
    return np.array([(y <= np.asarray(f)[seen]).mean() for f in np.asarray(forecast)])


def scores(spread: ArrayLike, estimate: ArrayLike, target: ArrayLike) -> dict[str, float]:
    """What is reported of cells (N,): spread (19, N) quantiles, estimate (N,) the point forecast."""
    bands, y = np.asarray(spread, np.float64), np.asarray(target, np.float64)
    every = np.ones(y.shape)
    place = LEVELS.index
    return {
        "crps": crps(bands, y, every),
        "mae": mae(estimate, y, every),
        "rmse": rmse(estimate, y, every),
        "coverage90": coverage(bands[place(0.05)], bands[place(0.95)], y, every),
        "coverage50": coverage(bands[place(0.25)], bands[place(0.75)], y, every),
        "cells": float(y.size),
    }


def _errors(estimate: ArrayLike, target: ArrayLike, where: ArrayLike) -> Floats:
    seen = np.asarray(where) > 0
    return np.asarray(estimate, np.float64)[seen] - np.asarray(target, np.float64)[seen]
