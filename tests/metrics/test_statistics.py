from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from headwater.metrics.statistics import (
    bootstrap_interval,
    crossed_interval,
    permutation_test,
    ranks,
    sign_test,
    spearman,
    spearman_interval,
    student_interval,
    summarize,
)

RNG = np.random.default_rng(5)
A = RNG.normal(size=12)
B = A + RNG.normal(0.6, 1.0, size=12)


@pytest.mark.parametrize("digits", [8, 0])
def test_rank_correlation_is_that_of_scipy(digits: int) -> None:
    a, b = A.round(digits), B.round(digits)
    np.testing.assert_array_equal(ranks(a), stats.rankdata(a))
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-14)
    assert math.isnan(spearman(a, np.zeros(12)))


def test_spearman_interval_of_an_order_and_of_a_constant() -> None:
    a = np.arange(9.0)
    assert spearman_interval(a, a**2, seed=0) == pytest.approx((1, 1, 1))
    assert spearman_interval(a, 0 * a, seed=0) == (0, 0, 0)


def test_summary() -> None:
    found = summarize(A)
    assert found.mean == pytest.approx(A.mean())
    assert found.sd == pytest.approx(A.std(ddof=1))
    assert found.sem == pytest.approx(stats.sem(A))
    assert math.isnan(summarize([1.0]).sd)
    with pytest.raises(ValueError, match="at least one"):
        summarize([])


def test_bootstrap_is_seeded_and_near_scipy() -> None:
    low, high = bootstrap_interval(B, seed=1)
    assert (low, high) == bootstrap_interval(B, seed=1)
    assert (low, high) != bootstrap_interval(B, seed=2)
    theirs = stats.bootstrap((B,), np.mean, method="BCa", rng=0).confidence_interval
    many = bootstrap_interval(B, seed=1, resamples=20_000)
    assert many == pytest.approx((theirs.low, theirs.high), abs=0.03)
    narrow = bootstrap_interval(B, seed=1, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0).exponential(size=(300, 20))
    for interval in (student_interval, lambda row: bootstrap_interval(row, seed=1, resamples=300)):
        covered = np.mean([low <= 1 <= high for low, high in map(interval, draws)])
        assert 0.88 <= covered <= 0.98


def test_the_bootstrap_of_a_skewed_statistic_is_that_of_scipy() -> None:
    x = np.random.default_rng(1).exponential(size=25)
    found = bootstrap_interval(x, 0, resamples=9999, statistic=lambda v: float(v.std()))
    theirs = stats.bootstrap((x,), np.std, method="BCa", rng=0).confidence_interval
    assert found == pytest.approx((theirs.low, theirs.high), rel=0.02)
    assert bootstrap_interval([2.0, 2.0, 2.0], 0) == (2.0, 2.0)


def test_paired_permutation_is_that_of_scipy() -> None:
    theirs = stats.permutation_test(
        (A, B), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert permutation_test(A, B, seed=0) == pytest.approx(theirs.pvalue, abs=1e-12)
    assert permutation_test([1, 2, 3], [0, 0, 0], seed=0) == 0.25


def test_random_permutation_agrees_with_the_exact_one() -> None:
    a, b = np.tile(A, 2), np.tile(B, 2)
    p = permutation_test(a, b, seed=0, draws=20_000)
    t = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=9999, rng=0
    )
    assert p == pytest.approx(t.pvalue, abs=0.02)
    assert 0 < permutation_test(a + 100, b, seed=0, draws=50) <= 1 / 51 + 1e-12


def test_sign_test_is_that_of_scipy() -> None:
    a, b = A.copy(), B.copy()
    b[0] = a[0]
    wins, n = int((a > b).sum()), int((a != b).sum())
    assert sign_test(a, b) == pytest.approx(stats.binomtest(wins, n).pvalue)
    assert sign_test([1, 1], [1, 1]) == 1.0
    with pytest.raises(ValueError, match="one length"):
        sign_test([1, 2], [1])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 12])
def test_students_interval_is_that_of_scipy(n: int) -> None:
    low, high = student_interval(A[:n])
    expected = stats.t.interval(0.95, n - 1, A[:n].mean(), stats.sem(A[:n]))
    assert (low, high) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(ValueError, match="two values"):
        student_interval(A[:1])


@pytest.mark.parametrize("between", [0.0, 0.3, 1.0])
def test_a_crossed_interval_covers_the_truth_for_other_trainings_and_other_units(between: float) -> None:
    rng, covered, narrow = np.random.default_rng(0), [], []
    for _ in range(400):
        x = rng.normal(0, between, (4, 1)) + rng.normal(0, 1, (1, 30)) + rng.normal(0, 1, (4, 30))
        low, high = crossed_interval(x)
        covered.append(low <= 0 <= high)
        inside = student_interval(x.mean(0))
        narrow.append(inside[0] <= 0 <= inside[1])
        assert high - low >= inside[1] - inside[0] - 1e-9
    assert 0.91 <= np.mean(covered) <= 0.995
    if between == 1.0:
        assert np.mean(narrow) < 0.6  # over units alone it says too much


def test_a_crossed_interval_wants_two_of_each() -> None:
    with pytest.raises(ValueError, match="two trainings"):
        crossed_interval([[1.0, 2.0, 3.0]])
