"""The one comparison that all claims share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headwater.experiments.comparison import Bound, compare, compare_trainings, verdict

RNG = np.random.default_rng(0)


def test_the_gain_is_positive_whichever_way_the_measure_goes() -> None:
    errors, worse = np.arange(20.0), np.arange(20.0) + 1
    assert compare("error", errors, worse, "smaller", "picture").mean == pytest.approx(1)
    assert compare("score", errors, worse, "larger", "picture").mean == pytest.approx(-1)
    assert compare("score", errors, worse, "larger", "picture").worse


def test_pairing_sees_what_the_spread_over_units_hides() -> None:
    hard = RNG.normal(0, 10, 40)
    better = compare("score", hard + 0.5 + RNG.normal(0, 0.5, 40), hard, "larger", "picture")
    assert better.better


def test_chance_is_not_called_a_gain() -> None:
    calls = [
        compare("", RNG.normal(0, 1, 30), RNG.normal(0, 1, 30), "larger", "u").better for _ in range(200)
    ]
    assert sum(calls) < 200 * 0.06  # 2.5 % are expected, a little more for so few units


def test_repeated_measurements_of_a_unit_do_not_count_as_units() -> None:
    hard, other = RNG.normal(0, 1, 12), RNG.normal(0, 1, 12)
    once = compare("", hard, other, "larger", "picture")
    six = compare("", np.tile(hard, (6, 1)), np.tile(other, (6, 1)), "larger", "picture")
    assert (six.low, six.high) == pytest.approx((once.low, once.high))
    assert len(six.to_dict()["ours"]) == 12


def test_other_units_are_refused() -> None:
    with pytest.raises(ValueError, match="same ones"):
        compare("error", [1.0, 2.0], [1.0], "smaller", "picture")


def test_a_verdict_wants_everything_that_is_required() -> None:
    good = compare("", RNG.normal(5, 1, 20), np.zeros(20), "larger", "picture")
    chance = compare("", [1.0, -1.0, 0.5, -0.5], np.zeros(4), "larger", "picture")
    yes, no = Bound("1 is 1", True), Bound("1 is 2", False)
    assert verdict([good, yes]) == "held"
    assert verdict([good, chance]) == "partly"
    assert verdict([chance, no]) == "not held"
    beside = compare("", [1.0, -1.0, 0.5, -0.5], np.zeros(4), "larger", "picture", required=False)
    assert verdict([good, beside]) == "held"
    assert verdict([chance, replace(yes, required=False)]) == "not held"


def test_a_verdict_does_not_rest_on_few_units_but_for_trainings() -> None:
    few = compare("", RNG.normal(5, 1, 9), np.zeros(9), "larger", "picture")
    assert few.better
    assert verdict([few]) == "not held"
    assert verdict([few], fewest=0) == "held"
    assert verdict([compare_trainings("", [5.0, 5.1, 5.2], [0.0, 0.1, 0.0], "larger")]) == "held"
    assert str(few).endswith("(n = 9)")
    one = compare("", [5.0], [0.0], "larger", "picture")
    assert not one.better
    assert not one.worse
