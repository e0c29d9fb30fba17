"""CSDI's own: units, windows, forecasts, what is computed once, scores, errors; the claim's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwater.cli.options import fill, read_options
from headwater.data.gaps import hidden_cells, imputed, spread_out
from headwater.data.series import Table
from headwater.data.windows import Scale
from headwater.errors import UserError
from headwater.methods.series.csdi import claim
from headwater.methods.series.csdi import method as csdi
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI, hide
from headwater.metrics.series import LEVELS, crps, crps_sum, quantiles
from headwater.nets.csdi import CSDIConfig, CSDINet
from headwater.noise import White
from headwater.sampling import Run
from headwater.training import TrainerConfig

TINY = CSDI(
    length=8, samples=5, chain=Chain(4), layers=1, channels=8, heads=2, step_dim=8, time_dim=8, feature_dim=4,
    sampler="ancestral", training=TrainerConfig(3, 4, 1e-3),
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


def test_a_forecast_is_one_draw_of_the_last_window(fitted: FittedCSDI) -> None:
    """With an overlap, too: a window alone, which ends with the table, draws the same paths."""
    ahead = replace(TINY, horizon=5, overlap=6)
    long = table(22).filled(np.nan_to_num(table(22).values, nan=20.0))
    whole, last = (ahead.apply([t], fitted, **QUIET).samples[0] for t in (long, long.part(19, 22)))
    assert whole.shape == last.shape == (5, 15)
    network, seen = fitted.network, list[int]()
    hook = network.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    ahead.apply([long], fitted, **{**QUIET, "batch_size": 100})
    hook.remove()
    assert max(seen) == 5  # five draws of one window: no other has a row of the forecast
    with pytest.raises(UserError, match="horizon must be below the fitted length, 8"):
        CSDI(horizon=9).apply([long], fitted, **QUIET)


def dated(rows: int) -> Table:
    """Hours from a Monday on: whole numbers, and skewed ones."""
    values = np.stack([np.arange(rows) % 24, np.exp(np.sin(np.arange(rows)) * 3)], 1).astype(float)
    values[5:9, 0] = values[12:14, 1] = np.nan
    stamps = tuple(f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00" for i in range(rows))
    return Table(values, np.arange(rows, dtype=float), ("count", "dust"), "d", stamps)


def test_dates_logarithms_and_whole_numbers_are_learnt_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rich = replace(
        TINY, strategy="blocks", calendar=True, log=True, integers=True, sampler="dpm-solver", steps=3
    )
    done = rich.fit([dated(60)], **QUIET)
    assert done.config.network.calendar == 6
    assert done.config.scale.whole == (True, False)
    assert (done.config.scale.offset > 0).tolist() == [False, True]
    done.save_pretrained(tmp_path / "kept")
    again = FittedCSDI.from_pretrained(tmp_path / "kept")
    found, same = (rich.apply([dated(40)], f, **QUIET) for f in (done, again))
    np.testing.assert_array_equal(found.samples[0], same.samples[0])
    values = found.filled[0].values
    assert (values[:, 0] == values[:, 0].round()).all()
    assert (values[:, 1] >= 0).all()
    later = replace(dated(40), stamps=tuple(s.replace("2024-01", "2024-07") for s in dated(40).stamps))
    assert not np.array_equal(rich.apply([later], done, **QUIET).samples[0], found.samples[0])
    plain = replace(dated(40), stamps=())
    with pytest.raises(UserError, match="d has no dates, which the calendar is read from"):
        rich.apply([plain], done, **QUIET)
    assert rich.fit([plain], **QUIET).config.network.calendar == 0
    assert "times are plain numbers, not dates" in caplog.text


def test_what_is_given_is_not_blurred(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    plain = csdi.masked_error

    def watched(network: Any, q: Any, x: Any, known: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append((x.values, known & x.observed))
        return plain(network, q, x, known, *rest)

    monkeypatch.setattr(csdi, "masked_error", watched)
    whole = Table(np.arange(40.0)[:, None] % 5, np.arange(40.0), ("count",))
    scale = replace(TINY, integers=True).fit([whole], **QUIET).config.scale
    for values, given in seen:
        units = values * float(scale.std[0]) + float(scale.mean[0])
        off = (units - units.round()).abs()
        assert float(off[given].max()) < 1e-4
        assert float(off[~given].max()) > 0.1


def test_evaluate_compares_with_lines_and_scores_sums(caplog: pytest.LogCaptureFixture) -> None:
    hours = np.arange(6.0)
    truth = Table(np.stack([hours, 10 * hours], 1), hours, ("a", "b"))
    given = truth.filled(truth.values.copy())
    given.values[2:4] = np.nan
    draws = np.array([[2, 21, 3, 30], [3, 20, 3, 31], [4, 19, 3, 29]], np.float32)
    filled, spread = imputed(given, quantiles(draws), LEVELS)
    scores = CSDI().evaluate([filled], [spread], [truth], [given], [draws])
    assert scores["mae_lines"] == pytest.approx(0)
    assert scores["mae"] == 0.25
    assert "straight lines between the given cells are closer in a (0 off, the median 0.5)" in caplog.text
    sums = np.array([[23, 33], [23, 34], [23, 32]])
    wanted = crps(quantiles(sums, positions="linear"), [22, 33], [1, 1])
    assert scores["crps_sum"] == pytest.approx(wanted)
    paths = spread_out(filled, given, draws)
    assert crps_sum(paths, truth.values, hidden_cells(truth, given)) == pytest.approx(wanted)
    assert "crps_sum" not in CSDI().evaluate([filled], [spread], [truth], [given])
    with pytest.raises(UserError, match="4 empty cells, and draws are"):
        CSDI().evaluate([filled], [spread], [truth], [given], [draws[:, :3]])


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


@pytest.mark.parametrize("strategy", ["random", "historical", "mix", "test", "blocks"])
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
        ("paper", CSDI(sampler="ancestral"), 35_000, 16),
        ("small", replace(claim.SMALL, overlap=12), 4000, 16),
        ("forecast", CSDI(length=192, strategy="test", horizon=24, sampler="ancestral"), 70_000, 8),
    ):
        found = fill(CSDI, read_options(recipes / f"{name}.yaml"), name)
        assert found == replace(meant, training=replace(meant.training, steps=steps, batch_size=batch))
