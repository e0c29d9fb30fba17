"""Windows of tables: what they cover, their times, draws put back; and gaps, hidden and filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwater.data.gaps import hidden_cells, hide_cells, imputed, read_quantiles
from headwater.data.series import Table
from headwater.data.windows import EmptyCells, Scale, calendar, cover, cut, spaced_windows
from headwater.errors import UserError
from headwater.nets.csdi import CSDIConfig, CSDINet


def table(rows: int) -> Table:
    values = np.stack([np.sin(np.arange(rows)), np.arange(rows) - 5.0, np.full(rows, 7.0)], 1)
    values[3:6, 0] = np.nan
    return Table(values, np.arange(rows, dtype=np.float64), ("warm", "cold", "still"))


@given(rows=st.integers(1, 200), length=st.integers(1, 40), data=st.data())
def test_windows_answer_for_every_row_once(rows: int, length: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, length - 1))
    places = cover(rows, length, overlap)
    assert [r for _, first, stop in places for r in range(first, stop)] == list(range(rows))
    for start, first, stop in places:
        assert start <= first
        assert stop <= start + length or (stop <= rows < length)
    for (a, _, seam), (b, _, _) in pairwise(places):
        assert a + length - b >= overlap
        assert abs((seam - b) - (a + length - seam)) <= 1


@given(rows=st.integers(1, 200), length=st.integers(2, 40), data=st.data())
def test_the_last_window_answers_for_a_whole_forecast(rows: int, length: int, data: st.DataObject) -> None:
    overlap, horizon = (data.draw(st.integers(0, length - 1)) for _ in range(2))
    places = [place for place in cover(rows, length, overlap, horizon) if place[2] > place[1]]
    assert [r for _, first, stop in places for r in range(first, stop)] == list(range(rows))
    start, first, stop = places[-1]
    assert first <= max(rows - horizon, 0)
    assert (stop, start) == (rows, max(rows - length, 0)) or horizon == 0
    for start, first, stop in places:
        assert start <= first
        assert stop <= start + length or stop <= rows < length


def test_skewed_columns_are_read_by_their_logarithm_and_whole_ones_rounded() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.lognormal(3, 1, 400).round(), rng.normal(50, 9, 400).round(), -rng.lognormal(3, 1, 400)]
    told = Table(np.stack(columns, 1), np.arange(400.0), ("dust", "warmth", "debt"))
    scale = Scale.of([told], log=True, integers=True)
    assert (scale.offset > 0).tolist() == [True, False, False]
    assert scale.whole == (True, True, False)
    normal = scale.normal(told.values)
    assert np.allclose(normal.mean(0), 0)
    assert np.allclose(normal.std(0), 1)
    skews = [(Scale.of([told]).normal(told.values) ** 3).mean(0)[0], (normal**3).mean(0)[0]]
    assert skews[0] > 2 > 1 > abs(skews[1])
    assert np.allclose(scale.units(normal), told.values)
    far = scale.units(np.array([[-9.0, 0.3, 0.0], [1e6, 0.0, 0.0]]))
    assert far[0, 0] == 0
    assert np.isfinite(far).all()
    assert (far[:, :2] == far[:, :2].round()).all()
    assert np.isfinite(scale.normal(np.full((1, 3), -100.0))).all()


def test_blurred_whole_numbers_lie_within_half_a_unit() -> None:
    told = table(8)
    scale = Scale.of([told], integers=True)
    assert scale.whole == (False, True, True)
    dither = np.random.default_rng(0).random((1, 8, 3))
    still, moved = (cut([(told, 0)], 8, scale, dither=d).values[0].T.numpy() for d in (None, dither))
    off = (moved - still) * scale.std
    assert (off[:, 0] == 0).all()
    assert np.allclose(off[:, 1:], dither[0, :, 1:] - 0.5, atol=1e-5)


def test_the_calendar_is_that_of_the_stamps_in_every_part_of_a_table() -> None:
    hours = np.arange(24.0 * 400)
    stamps = tuple(f"{datetime(2023, 1, 1) + timedelta(hours=h):%Y-%m-%d %H:%M}" for h in hours)
    dated = Table(np.zeros((len(hours), 1)), hours, ("x",), stamps=stamps)
    whole = calendar(dated, dated.times)
    for start in (0, 7, 24 * 350):
        part = dated.part(start, start + 30)
        assert np.allclose(calendar(part, part.times), whole[start : start + 30], atol=0.01)  # leap years
        read = cut([(part, 4)], 40, Scale.of([dated]), dated=True).dates
        assert read is not None
        np.testing.assert_allclose(read[0].numpy(), whole[start + 4 : start + 44], atol=0.01)
    # Sunday, 1 January 2023, 06:00, 12 hours later, and a day and a week later.
    assert np.allclose(whole[6, [0, 3]], [1, 0])
    assert np.allclose(whole[18, [0, 3]], [-1, 0])
    assert np.allclose(whole[6, 0], whole[30, 0])
    assert np.allclose(whole[6, [1, 4]], whole[6 + 168, [1, 4]])
    assert not np.allclose(whole[6, [1, 4]], whole[30, [1, 4]], atol=0.1)
    with pytest.raises(UserError, match="has no dates"):
        calendar(table(8), table(8).times)


def test_uneven_times_reach_the_network() -> None:
    even = table(8)
    late = replace(even, times=even.times * np.where(np.arange(8) > 4, 3.0, 1.0))
    a, b = (cut([(t, 0)], 8, Scale.of([even])).times for t in (even, late))
    assert a.tolist() == [list(range(8))]
    torch.manual_seed(0)
    network, known = CSDINet(CSDIConfig(3, 1, 8, 2, 8, 8, 4)), torch.ones(1, 3, 8, dtype=torch.bool)
    assert not torch.equal(network.side(a, known)[0], network.side(b, known)[0])
    daily = replace(even, times=even.times * 24)
    assert torch.equal(cut([(daily, 0)], 8, Scale.of([daily])).times, a)


def test_hiding_takes_known_cells_and_leaves_one() -> None:
    truth = spaced_windows(table(20), 6, 3)[0]
    known = int(np.isfinite(truth.values).sum())
    for ratio in (0.0, 0.5, 1.0):
        hidden = int(np.isnan(hide_cells(truth, ratio, 1).values).sum()) - (truth.values.size - known)
        assert hidden == min(max(1, round(ratio * known)), known - 1)
    one, other = (np.isnan(hide_cells(truth, 0.5, seed).values) for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_units_are_those_of_the_known_cells() -> None:
    tables = [table(20), table(5)]
    scale, values = Scale.of(tables), np.concatenate([t.values for t in tables])
    assert np.allclose(scale.mean, np.nanmean(values, 0))
    assert scale.std[0] == pytest.approx(np.nanstd(values[:, 0]))
    assert scale.std[2] == 1.0  # a constant column has no spread of its own: draws stay near its value


def test_draws_of_windows_come_back_into_the_empty_cells() -> None:
    tables = [table(20), table(5)]
    scale = Scale.of(tables)
    empty = EmptyCells(tables, samples=3, length=8, overlap=2, scale=scale)
    assert [(p.table, p.start) for p in empty.places] == [(0, 0), (1, 0)]  # the others have no empty cell
    items = range(2)
    assert empty.windows(items).observed[0, 0].tolist() == [True] * 3 + [False] * 3 + [True] * 2
    x = torch.arange(8.0).expand(6, 3, 8) + torch.arange(6.0)[:, None, None]  # the row, and the draw's number
    empty.put(items, range(3), x)
    rows, draws = np.array([3.0, 4.0, 5.0]), np.arange(3.0)[:, None]
    np.testing.assert_allclose((empty.draws[0] - scale.mean[0]) / scale.std[0], rows + draws, rtol=1e-6)
    later = rows[:2] + 3 + draws
    np.testing.assert_allclose((empty.draws[1] - scale.mean[0]) / scale.std[0], later, rtol=1e-6)


def test_quantiles_are_read_as_they_were_written() -> None:
    gaps, levels = table(8), (0.25, 0.5, 0.75)
    quantiles = np.arange(9.0).reshape(3, 3)
    filled, spread = imputed(gaps, quantiles, levels)
    empty = np.isnan(gaps.values)
    assert filled.values[empty].tolist() == [3, 4, 5]
    assert np.array_equal(filled.values[~empty], gaps.values[~empty])
    assert spread.columns == ("warm q0.25", "warm q0.5", "warm q0.75")
    back = read_quantiles(spread, filled, levels)
    assert np.array_equal(back[:, empty], quantiles)
    assert np.array_equal(back[:, ~empty], np.repeat(gaps.values[~empty][None], 3, 0))
    assert np.array_equal(hidden_cells(filled, gaps), empty)
