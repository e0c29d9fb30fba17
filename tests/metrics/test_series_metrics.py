"""Scores of series on cases that can be counted by hand; the reference's arrays are in tests/parity."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from headwater.metrics.series import (
    LEVELS,
    calibration,
    coverage,
    crps,
    crps_sum,
    mae,
    pinball,
    quantile_loss,
    quantiles,
    rmse,
    scores,
)


def test_a_point_forecast_has_its_absolute_error_as_crps() -> None:
    y, point = np.array([2.0, -4.0]), np.array([3.0, -4.0])
    flat = np.repeat(point[None], len(LEVELS), 0)
    assert crps(flat, y, np.ones(2)) == pytest.approx(1 / 6)
    assert crps(flat, y, np.array([0, 1])) == 0.0
    assert np.isnan(crps(flat, np.zeros(2), np.ones(2)))


def test_quantile_loss_weighs_the_sides() -> None:
    assert quantile_loss([1.0], [3.0], [1], 0.9) == pytest.approx(2 * 2 * 0.9)
    assert quantile_loss([3.0], [1.0], [1], 0.9) == pytest.approx(2 * 2 * 0.1)


def test_crps_approaches_that_of_a_gaussian() -> None:
    # At y = 0: the mean over levels of twice the pinball loss; (sqrt 2 - 1) / sqrt pi with all levels.
    draws = np.random.default_rng(0).normal(size=(40_000, 1)) + 5
    edges = [NormalDist().inv_cdf(q) for q in LEVELS]
    exact = np.mean([2 * abs(z) * abs((z >= 0) - q) for z, q in zip(edges, LEVELS, strict=True)])
    assert exact == pytest.approx((2**0.5 - 1) / np.pi**0.5, rel=0.07)
    assert crps(quantiles(draws), np.array([5.0]), np.ones(1)) * 5 == pytest.approx(exact, rel=0.02)


def test_a_point_has_its_absolute_error_as_crps_in_units_of_the_data() -> None:
    truth, where = np.array([[1.0, 4.0], [2.0, 0.0]]), np.array([[True, True], [False, False]])
    bands = np.repeat((truth + np.array([[3.0, -1.0], [9.0, 9.0]]))[None], len(LEVELS), 0)
    assert pinball(bands, truth, where) == pytest.approx(mae(bands[0], truth, where)) == 2.0
    assert pinball(bands / [3.0, 2.0], truth / [3.0, 2.0], where) == pytest.approx((1 + 0.5) / 2)
    spread = np.linspace(1, 5, len(LEVELS))[:, None]
    assert pinball(spread, [3.0], [1]) < pinball(spread, [9.0], [1])


@pytest.mark.parametrize(("positions", "share"), [("weibull", 0.9), ("linear", 0.9 * 18 / 20)])
def test_intervals_of_exchangeable_draws_cover_what_they_say(positions: str, share: float) -> None:
    draws = np.random.default_rng(1).random((20, 40_000))
    low, high = quantiles(draws[1:], (0.05, 0.95), positions)  # type: ignore[arg-type]
    assert coverage(low, high, draws[0], np.ones(40_000)) == pytest.approx(share, abs=0.006)
    found = calibration(quantiles(draws[1:]), draws[0], np.ones(40_000))
    np.testing.assert_allclose(found, LEVELS, atol=0.01)


def test_sums_add_features_before_scoring() -> None:
    draws = np.array([[[1.0, -1.0]], [[3.0, -3.0]]])  # two draws, one time, two features: sums are 0
    assert crps_sum(draws, np.array([[2.0, 2.0]]), np.ones((1, 2))) == pytest.approx(1.0)


def test_errors_count_marked_cells() -> None:
    y, found, where = np.array([0.0, 0.0, 9.0]), np.array([3.0, -4.0, np.nan]), np.array([1, 1, 0])
    assert mae(found, y, where) == 3.5
    assert rmse(found, y, where) == pytest.approx(12.5**0.5)
    assert np.isnan(mae(found, y, np.zeros(3)))


def test_scores_names() -> None:
    bands = np.linspace(0, 1, 19)[:, None] * np.ones((19, 3))
    found = scores(bands, bands[9], np.array([0.5, -1.0, 0.99]))
    assert found["cells"] == 3
    assert found["coverage90"] == pytest.approx(2 / 3)
    assert found["coverage50"] == pytest.approx(1 / 3)
