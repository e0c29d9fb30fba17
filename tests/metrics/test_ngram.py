"""Character n-grams: proper distributions, a worked example, and the choice of an order."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.metrics.ngram import NGram, best_order


def test_probabilities_sum_to_one_after_any_context() -> None:
    stream = np.random.default_rng(0).integers(0, 4, 300)
    for order in (1, 2, 4):
        model = NGram.fit(stream, 5, order)  # category 4 is never seen
        for context in ([], [0], [3, 1], [4, 2, 0], [1, 1, 1, 1]):
            rows = np.array([[*context, c] for c in range(5)])
            last = 2.0 ** -model.bits(rows)[:, -1]
            assert last.sum() == pytest.approx(1)
            assert (last > 0).all()


def test_a_worked_example() -> None:
    model = NGram.fit(np.array([0, 1, 0, 1, 1]), 2, 2)
    # Empty context: n = 5, two kinds: p(1) = (3 + 2 / 2) / 7. After 0: only 1, twice: (2 + p(1)) / 3.
    one = 4 / 7
    assert 2.0 ** -model.bits(np.array([[1, 1]]))[0, 0] == pytest.approx(one)
    assert 2.0 ** -model.bits(np.array([[0, 1]]))[0, 1] == pytest.approx((2 + one) / 3)
    # After 1: 0 once, 1 once: (1 + 2 p(0)) / 4.
    assert 2.0 ** -model.bits(np.array([[1, 0]]))[0, 1] == pytest.approx((1 + 2 * (1 - one)) / 4)


def test_the_held_out_order_is_the_sources() -> None:
    rng = np.random.default_rng(1)
    stream = [0, 1]
    for _ in range(6000):  # each is, mostly, the sum of the two before
        stream.append((stream[-1] + stream[-2]) % 3 if rng.random() < 0.9 else int(rng.integers(3)))
    data = np.array(stream)
    model = best_order(data[:5000], data[5000:6000].reshape(-1, 20), 3)
    assert model.order == 3
    assert model.bits(data[5000:6000].reshape(-1, 20)).mean() < 1.1
    with pytest.raises(ValueError, match="choose a lower order"):
        NGram.fit(data, 3, 60)
