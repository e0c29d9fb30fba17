"""CSDI's own: units, windows, forecasts, what is computed once, scores, errors; the claim's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headwater.cli.options import fill, read_options
from headwater.data.series import Table
from headwater.data.windows import Scale
from headwater.errors import UserError
from headwater.methods.series.csdi import claim
from headwater.methods.series.csdi import method as csdi
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI, hide
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
    more = replace(TINY, samples=9).apply(series, fitted, **QUIET)
    np.testing.assert_allclose(more.samples[0][:5], found.samples[0], rtol=1e-4, atol=1e-4)


def test_units_are_those_of_the_training_tables(fitted: FittedCSDI) -> None:
    scale, fresh = fitted.config.scale, Scale.of([table(), table(5)])
    assert np.array_equal([scale.mean, scale.std], [fresh.mean, fresh.std])
    small = TINY.apply([table()], fitted, **QUIET)
    config = replace(fitted.config, scale=Scale(1000 * scale.mean, 1000 * scale.std, 1.0))
    large = replace(table(), values=1000 * table().values)
    big = TINY.apply([large], replace(fitted, config=config), **QUIET)
    np.testing.assert_allclose(big.filled[0].values, 1000 * small.filled[0].values, rtol=1e-4)


def test_what_depends_on_the_input_alone_is_computed_once(
    fitted: FittedCSDI, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, sides, sizes = fitted.network, list[int](), list[int]()
    assert isinstance(network, CSDINet)
    hooks = [
        network.diffmodel.projections()[0].register_forward_hook(lambda _, args, __: sides.append(1)),
        network.register_forward_hook(lambda _, args, __: sizes.append(len(args[0]))),
    ]
    TINY.apply([table()], fitted, **replace(QUIET, batch_size=2))
    # Rows 0-7, 8-15, 12-19: two windows with gaps; the third answers for rows 14-19 and has one too.
    assert (len(sides), len(sizes)) == (3, 3 * 3 * 4)  # 5 draws, two at a time, in 4 steps
    sizes.clear()
    whole = TINY.apply([table()], fitted, **replace(QUIET, batch_size=100)).samples[0]
    assert max(sizes) == 15  # three windows, five draws each
    sizes.clear()
    monkeypatch.setattr(csdi, "CELLS", 2 * 8 * 3)  # a call on a CPU fits its cache
    parts = TINY.apply([table()], fitted, **replace(QUIET, batch_size=100)).samples[0]
    assert max(sizes) == 2
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)
    for hook in hooks:
        hook.remove()


def test_a_bound_keeps_draws_in_range(fitted: FittedCSDI) -> None:
    column = np.argwhere(np.isnan(table().values))[:, 1]
    for bound in (0.5, 3.0):
        draws = replace(TINY, bound=bound).apply([table()], fitted, **QUIET).samples[0]
        far = np.abs((draws - fitted.config.scale.mean[column]) / fitted.config.scale.std[column]).max()
        assert far == pytest.approx(bound, rel=1e-5)  # three steps of training reach any bound


def test_a_forecast_adds_rows(fitted: FittedCSDI) -> None:
    unconditional = replace(fitted.config.network, given="pasted")
    for one in (fitted, replace(fitted, config=replace(fitted.config, network=unconditional))):
        ahead = replace(TINY, horizon=3, steps=2)
        found = ahead.apply([table()], one, **QUIET)
        assert len(found.filled[0]) == 23
        assert np.isfinite(found.filled[0].values).all()
        scores = ahead.evaluate(found.filled, found.quantiles, [table(23)], [table()])
        assert scores["cells"] == 9  # three rows of three columns; the gaps are unknown in the truth too
        assert scores["mae"] > 0


def test_evaluate_counts_hidden_cells_alone(fitted: FittedCSDI) -> None:
    truth = table()
    truth.values[np.isnan(truth.values)] = 50.0
    found = TINY.apply([table()], fitted, **QUIET)
    scores = TINY.evaluate(found.filled, found.quantiles, [truth], [table()])
    errors = np.abs(found.filled[0].values - truth.values)[np.isnan(table().values)]
    assert (scores["mae"], scores["cells"]) == (pytest.approx(errors.mean()), 12)
    for wrong, words in ((table(), "no cell"), (replace(truth, columns=("x", "y", "z")), "other columns")):
        with pytest.raises(UserError, match=words):
            TINY.evaluate(found.filled, found.quantiles, [wrong], [table()])


@pytest.mark.parametrize("strategy", ["random", "historical", "mix", "test"])
def test_strategies_hide_observed_cells_only(strategy: str) -> None:
    observed = torch.rand(6, 3, 8, generator=torch.Generator().manual_seed(0)) > 0.3
    known = hide(observed, strategy, 2, White().stream(range(6)))  # type: ignore[arg-type]
    assert not bool((known & ~observed).any())
    assert bool((observed & ~known).any())
    if strategy == "test":
        assert torch.equal(known[..., :6], observed[..., :6])
        assert not bool(known[..., 6:].any())
    method = replace(TINY, strategy=strategy, horizon=2, training=TrainerConfig(1, 4, 1e-3))
    assert method.fit([table()], **QUIET).config.length == 8


def test_errors_say_what_to_do(fitted: FittedCSDI) -> None:
    empty, one = table().filled(np.full((20, 3), np.nan)), table()
    one.values[:, 1] = np.nan
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
        TINY.fit([one], **QUIET)
    assert np.isfinite(TINY.apply([one], fitted, **QUIET).filled[0].values).all()
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


def test_recipes_say_what_the_code_says() -> None:
    recipes = Path(__file__).parents[1] / "recipes"
    for name, meant, steps, batch in (
        ("paper", CSDI(), 35_000, 16),
        ("small", replace(claim.SMALL, samples=50, overlap=12), 4000, 16),
        ("forecast", CSDI(length=192, strategy="test", horizon=24), 70_000, 8),
    ):
        found = fill(CSDI, read_options(recipes / f"{name}.yaml"), name)
        assert found == replace(meant, training=replace(meant.training, steps=steps, batch_size=batch))
