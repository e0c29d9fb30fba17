"""CSDI as a user meets it: gaps filled in the right units, exact where given, errors that say what to do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwater.baselines.series import Climatology, column_mean, interpolated
from headwater.data.series import Table
from headwater.errors import UserError
from headwater.methods.series.csdi import imputing
from headwater.methods.series.csdi.fitted import Chain, FittedCSDI
from headwater.methods.series.csdi.masks import hide
from headwater.methods.series.csdi.method import CSDI
from headwater.methods.series.csdi.windows import Scale, cover, cut
from headwater.nets.csdi import CSDIConfig, CSDINet
from headwater.noise import White
from headwater.sampling import Run
from headwater.training import TrainerConfig

TINY = CSDI(
    length=8, samples=5, chain=Chain(4), layers=1, channels=8, heads=2, step_dim=8, time_dim=8, feature_dim=4,
    training=TrainerConfig(3, 4, 1e-3),
)  # fmt: skip
QUIET = Run(seed=1, batch_size=4, progress=False)


def table(rows: int = 20, name: str = "a") -> Table:
    hours = np.arange(rows, dtype=np.float64)
    day = np.sin(hours / 24 * 2 * np.pi)
    values = np.stack([100 + 10 * day, -5 + day, np.full(rows, 7.0)], 1)
    values[3:6, 0] = np.nan
    values[12:15] = np.nan
    return Table(values, hours, ("warm", "cold", "still"), name)


@pytest.fixture(scope="module")
def fitted() -> FittedCSDI:
    return TINY.fit([table(), table(5, "short")], **QUIET)


def test_empty_cells_are_filled_and_given_ones_kept(fitted: FittedCSDI) -> None:
    series = [table(), table(5, "short")]
    found = TINY.apply(series, fitted, **QUIET)
    for before, after, draws in zip(series, found.filled, found.samples, strict=True):
        empty = np.isnan(before.values)
        assert np.array_equal(after.values[~empty], before.values[~empty])
        assert np.isfinite(after.values).all()
        assert draws.shape == (5, empty.sum())
        assert np.allclose(np.median(draws, 0), after.values[empty])
    spread = found.quantiles[1]
    assert spread.columns == tuple(f"warm q{0.05 * i:g}" for i in range(1, 20))
    assert bool((np.diff(spread.values, axis=1) >= 0).all())
    assert np.array_equal(spread.values[0], np.full(19, series[1].values[0, 0]))


def test_units_are_those_of_the_table(fitted: FittedCSDI) -> None:
    # A constant column has no spread of its own: draws stay near its value instead of blowing up.
    scale = fitted.config.scale
    assert scale.std[2] == 1.0
    big = TINY.apply([table()], fitted, **QUIET)
    config = replace(fitted.config, scale=Scale(1000 * scale.mean, 1000 * scale.std, 1.0))
    scaled = replace(fitted, config=config)
    other = replace(table(), values=1000 * table().values)
    small = TINY.apply([other], scaled, **QUIET)
    np.testing.assert_allclose(small.filled[0].values, 1000 * big.filled[0].values, rtol=1e-4)


def test_draws_depend_on_seed_table_window_and_number_alone(fitted: FittedCSDI) -> None:
    series = [table(), table(11, "b")]
    found = TINY.apply(series, fitted, **QUIET)
    for batch in (1, 7, 64):
        other = TINY.apply(series, fitted, **replace(QUIET, batch_size=batch))
        for a, b in zip(found.samples, other.samples, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    alone = TINY.apply(series[1:], fitted, **replace(QUIET, first=1))
    np.testing.assert_allclose(alone.samples[0], found.samples[1], rtol=1e-4, atol=1e-4)
    more = replace(TINY, samples=9).apply(series, fitted, **QUIET)
    np.testing.assert_allclose(more.samples[0][:5], found.samples[0], rtol=1e-4, atol=1e-4)
    assert not np.allclose(TINY.apply(series, fitted, **replace(QUIET, seed=2)).samples[0], found.samples[0])


def test_what_depends_on_the_input_alone_is_computed_once(fitted: FittedCSDI) -> None:
    calls = {"side": 0, "network": 0}
    network = fitted.network
    assert isinstance(network, CSDINet)

    def count(name: str):
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    hooks = [
        network.diffmodel.projections()[0].register_forward_hook(count("side")),
        network.register_forward_hook(count("network")),
    ]
    TINY.apply([table()], fitted, **replace(QUIET, batch_size=2))
    for hook in hooks:
        hook.remove()
    # Rows 0-7, 8-15, 12-19: two windows with gaps; the third answers for rows 14-19 and has one too.
    assert calls == {"side": 3, "network": 3 * 3 * 4}  # 5 draws, two at a time, in 4 steps


def test_a_call_on_a_cpu_fits_its_cache(fitted: FittedCSDI, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    hook = fitted.network.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    whole = TINY.apply([table()], fitted, **replace(QUIET, batch_size=100)).samples[0]
    assert max(sizes) == 15  # three windows, five draws each
    sizes.clear()
    monkeypatch.setattr(imputing, "CELLS", 2 * 8 * 3)
    parts = TINY.apply([table()], fitted, **replace(QUIET, batch_size=100)).samples[0]
    hook.remove()
    assert max(sizes) == 2
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)


def test_a_bound_keeps_draws_in_range(fitted: FittedCSDI) -> None:
    column = np.argwhere(np.isnan(table().values))[:, 1]
    for bound in (0.5, 3.0):
        draws = replace(TINY, bound=bound).apply([table()], fitted, **QUIET).samples[0]
        far = np.abs((draws - fitted.config.scale.mean[column]) / fitted.config.scale.std[column]).max()
        assert far == pytest.approx(bound, rel=1e-5)  # three steps of training reach any bound


@pytest.mark.parametrize("way", ["input", "pasted"])
def test_fewer_steps_cost_fewer_calls(way: str, fitted: FittedCSDI) -> None:
    config = replace(fitted.config, network=replace(fitted.config.network, given=way))
    other = replace(fitted, config=config)
    calls: list[int] = []
    hook = fitted.network.register_forward_hook(lambda *_: calls.append(1))
    every = replace(TINY, steps=4).apply([table()], other, **QUIET).samples[0]
    whole = len(calls)
    few = replace(TINY, steps=2).apply([table()], other, **QUIET).samples[0]
    hook.remove()
    assert np.array_equal(every, TINY.apply([table()], other, **QUIET).samples[0])
    assert len(calls) - whole == whole / 2
    assert np.isfinite(few).all()
    assert not np.array_equal(few, every)


def test_a_forecast_adds_rows(fitted: FittedCSDI) -> None:
    ahead = replace(TINY, horizon=3)
    found = ahead.apply([table()], fitted, **QUIET)
    assert len(found.filled[0]) == 23
    assert np.isfinite(found.filled[0].values).all()
    truth = [table(23)]
    scores = ahead.evaluate(found.filled, found.quantiles, truth, [table()])
    assert scores["cells"] == 9  # three rows of three columns; the gaps are unknown in the truth too
    assert scores["mae"] > 0


def test_evaluate_counts_hidden_cells_alone(fitted: FittedCSDI) -> None:
    truth = table()
    truth.values[np.isnan(truth.values)] = 50.0
    found = TINY.apply([table()], fitted, **QUIET)
    scores = TINY.evaluate(found.filled, found.quantiles, [truth], [table()])
    errors = np.abs(found.filled[0].values - truth.values)[np.isnan(table().values)]
    assert scores["mae"] == pytest.approx(errors.mean())
    assert scores["cells"] == 12
    with pytest.raises(UserError, match="no cell"):
        TINY.evaluate(found.filled, found.quantiles, [table()], [table()])
    with pytest.raises(UserError, match="other columns"):
        TINY.evaluate(found.filled, found.quantiles, [replace(truth, columns=("x", "y", "z"))], [table()])


def test_fitting_is_repeatable_and_learns_from_training_values_alone() -> None:
    one, two = (TINY.fit([table()], **QUIET) for _ in range(2))
    for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(a, b)
    values = table().values
    assert np.allclose(one.config.scale.mean, np.nanmean(values, 0))
    assert one.config.scale.std[0] == pytest.approx(np.nanstd(values[:, 0]))


@pytest.mark.parametrize("strategy", ["random", "historical", "mix", "test"])
def test_strategies_hide_observed_cells_only(strategy: str) -> None:
    observed = torch.rand(6, 3, 8, generator=torch.Generator().manual_seed(0)) > 0.3
    known = hide(observed, strategy, 2, White().stream(range(6)))  # type: ignore[arg-type]
    assert not bool((known & ~observed).any())
    assert bool((observed & ~known).any())
    if strategy == "test":
        assert torch.equal(known[..., :6], observed[..., :6])
        assert not bool(known[..., 6:].any())
    TINY_OF = replace(TINY, strategy=strategy, horizon=2, training=TrainerConfig(1, 4, 1e-3))
    assert TINY_OF.fit([table()], **QUIET).config.length == 8


@given(rows=st.integers(1, 200), length=st.integers(1, 40), data=st.data())
def test_windows_answer_for_every_row_once(rows: int, length: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, length - 1))
    places = cover(rows, length, overlap)
    assert [r for _, first, stop in places for r in range(first, stop)] == list(range(rows))
    for start, first, stop in places:
        assert start <= first
        assert stop <= start + length or (stop <= rows < length)
    for (a, _, seam), (b, _, _) in pairwise(places):
        shared = a + length - b
        assert shared >= overlap
        assert abs((seam - b) - (a + length - seam)) <= 1


def test_uneven_times_reach_the_network() -> None:
    even = table(8)
    late = replace(even, times=even.times * np.where(np.arange(8) > 4, 3.0, 1.0))
    scale = Scale.of([even])
    a, b = (cut([(t, 0)], 8, scale).times for t in (even, late))
    assert a.tolist() == [list(range(8))]
    assert not torch.equal(a, b)
    torch.manual_seed(0)
    network = CSDINet(CSDIConfig(3, 1, 8, 2, 8, 8, 4))
    known = torch.ones(1, 3, 8, dtype=torch.bool)
    assert not torch.equal(network.side(a, known)[0], network.side(b, known)[0])
    daily = replace(even, times=even.times * 24)
    assert torch.equal(cut([(daily, 0)], 8, Scale.of([daily])).times, a)


def test_errors_say_what_to_do(fitted: FittedCSDI) -> None:
    empty = table().filled(np.full((20, 3), np.nan))
    one = table().values.copy()
    one[:, 1] = np.nan
    for wrong, words in (
        ([], "no series"),
        ([empty], "no value at all"),
        ([table().part(0, 0)], "no rows"),
        ([table(), replace(table(), columns=("x", "y", "z"))], "columns"),
    ):
        with pytest.raises(UserError, match=words):
            TINY.fit(wrong, **QUIET)
        with pytest.raises(UserError, match=words):
            TINY.apply(wrong, fitted, **QUIET)
    with pytest.raises(UserError, match="cold has no value"):
        TINY.fit([table().filled(one)], **QUIET)
    assert np.isfinite(TINY.apply([table().filled(one)], fitted, **QUIET).filled[0].values).all()
    for fields, words in (
        ({"overlap": 8}, "overlap"),
        ({"strategy": "test"}, "horizon"),
        ({"samples": 0}, "samples"),
        ({"bound": -1.0}, "bound"),
        ({"steps": 0}, "steps"),
    ):
        with pytest.raises(UserError, match=words):
            replace(TINY, **fields)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="give a number from 1 to 4"):
        replace(TINY, steps=5).apply([table()], fitted, **QUIET)
    with pytest.raises(UserError, match="multiple of heads"):
        CSDIConfig(3, channels=9, heads=2)


def test_baselines() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [5.0, np.nan], [np.nan, np.nan]])
    gaps = Table(values, np.array([0.0, 3.0, 4.0, 9.0]), ("a", "b"))
    mean = np.array([0.0, 8.0])
    assert interpolated(gaps, mean).values.T.tolist() == [[1, 4, 5, 5], [8, 8, 8, 8]]
    assert column_mean(gaps, mean).values.T.tolist() == [[1, 0, 5, 0], [8, 8, 8, 8]]
    days = Table(np.array([[1.0], [2.0], [3.0], [np.nan]]), np.array([0.0, 12.0, 24.0, 36.0]), ("a",))
    usual = Climatology.of([days])
    assert usual.mean[[0, 12, 5], 0].tolist() == [2.0, 2.0, 2.0]
    assert usual.fill(Table(np.array([[np.nan], [4.0]]), np.array([48.0, 60.0]), ("a",))).values.tolist() == [
        [2.0], [4.0]
    ]  # fmt: skip
