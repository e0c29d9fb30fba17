"""TimeGrad on series of known laws: forecasts through `apply`, scores as GluonTS's, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from headwater.data.series import Table
from headwater.errors import UserError
from headwater.methods.series.timegrad.method import FittedTimeGrad, ForecasterConfig, TimeGrad
from headwater.methods.series.timegrad.rows import clock, lags_of, step_of
from headwater.metrics.series import crps, quantiles
from headwater.sampling import Run
from headwater.training import TrainerConfig

COLUMNS = ("a", "b")
PUSH = np.array([[1.0, 0.6], [0.6, 1.0]]) * 0.25
DECAY = np.array([0.9, -0.5])
QUIET = Run(seed=1, batch_size=4000, progress=False)
METHOD = TimeGrad(
    horizon=3, context=4, scaling="standard", samples=1500, sampler="dpm-solver", steps=20, cells=4, layers=1,
    training=TrainerConfig(3, 4),
)  # fmt: skip


class Ideal(nn.Module):
    """Of x_t = DECAY x_t-1 + N(0, PUSH), columns correlated by 0.6: E[noise | noisy x_t, x_t-1], in closed
    form. What it knows of the past is the row before."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.q, self.scale, self.pace = config.process.build(), config.scale, config.pace

    def read(self, lagged: Tensor, extra: Tensor, state: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        return lagged[..., 0], (torch.zeros(1, len(lagged), 1),)

    def forward(self, x: Tensor, label: Tensor, past: Tensor) -> Tensor:
        a, b = self.q.scales(int(label[0]) + 1)
        mean, std = (torch.from_numpy(v) for v in (self.scale.mean, self.scale.std))
        before, decay = past[:, 0].double() * std + mean, torch.from_numpy(DECAY)
        middle, spread = (before * decay - mean) / std, torch.from_numpy(PUSH) / torch.outer(std, std)
        if len(self.pace):
            pace = torch.from_numpy(self.pace)
            middle, spread = (middle - past[:, 0]) / pace, spread / torch.outer(pace, pace)
        off = x[:, 0].double() - a * middle
        x0 = middle + off @ (a * spread @ torch.linalg.inv(a * a * spread + b * b * torch.eye(2))).T
        return ((x[:, 0].double() - a * x0) / b).to(x.dtype)[:, None]


def table(rows: int = 400, name: str = "t", stamped: bool = False) -> Table:
    rng = np.random.default_rng(0)
    values = np.zeros((rows, 2))
    for i in range(1, rows):
        values[i] = DECAY * values[i - 1] + rng.multivariate_normal([0, 0], PUSH)
    hours = np.arange(rows, dtype=np.float64)
    written = np.datetime64("2024-02-28T22:00") + np.arange(rows).astype("m8[h]")
    stamps = tuple(str(t).replace("T", " ") for t in written) if stamped else ()
    return Table(values, hours + 22 * stamped, COLUMNS, name, stamps)


@pytest.mark.parametrize("scaling", ["standard", "change"])
def test_paths_follow_the_joint_law_of_the_future(scaling: Any) -> None:
    method = replace(METHOD, scaling=scaling)
    config, _ = method.lessons([table()])
    fitted = FittedTimeGrad(Ideal(config), config)
    found = method.apply([table()], fitted, **QUIET)
    paths, last = found.samples[0].reshape(1500, 3, 2).astype(float), table().values[-1]
    spread = np.zeros((2, 2))
    for k in range(3):
        spread = np.diag(DECAY) @ spread @ np.diag(DECAY) + PUSH
        error = np.sqrt(np.diag(spread) / 1500)
        assert (np.abs(paths[:, k].mean(0) - DECAY ** (k + 1) * last) < 4 * error).all()
        assert np.abs(np.cov(paths[:, k].T) / spread - 1).max() < 0.15
    # Each row goes on from its own path's: innovations are those of the law.
    pushes = paths[:, 1:] - DECAY * paths[:, :-1]
    np.testing.assert_allclose(np.cov(pushes.reshape(-1, 2).T), PUSH, atol=0.03)
    assert np.array_equal(
        np.median(found.samples[0], 0).astype(np.float32), found.forecast[0].values.ravel().astype(np.float32)
    )


def test_rows_go_on_after_the_last_value_with_its_times() -> None:
    fitted = METHOD.fit([table(60, stamped=True)], **QUIET)
    assert (fitted.config.step, fitted.config.lags, fitted.config.network.inputs) == (
        "hours",
        (1, 24, 168),
        12,
    )
    few = replace(METHOD, samples=4)
    given = table(30, stamped=True)
    found = few.apply([given], fitted, **QUIET)
    assert found.forecast[0].stamps == ("2024-03-01 04:00", "2024-03-01 05:00", "2024-03-01 06:00")
    ends = given.values.copy()
    ends[-2:] = np.nan  # empty rows at the end are the first to be forecast
    assert few.apply([given.filled(ends)], fitted, **QUIET).forecast[0].stamps[0] == "2024-03-01 02:00"
    tested = replace(few, backtest=True).apply([given], fitted, **QUIET)
    assert tested.forecast[0].stamps == given.stamps[-3:]
    changed = given.values.copy()
    changed[-3:] = 1e3
    again = replace(few, backtest=True).apply([given.filled(changed)], fitted, **QUIET)
    assert np.array_equal(again.samples[0], tested.samples[0])
    scores = few.evaluate(tested.forecast, tested.quantiles, [given], [given], tested.samples)
    assert scores["mae_naive"] == pytest.approx(np.abs(given.values[-3:] - given.values[-27:-24]).mean())
    assert scores["cells"] == 6


def test_the_scale_of_a_window_leaves_with_its_paths() -> None:
    """By the paper's scale a table in other units has the same forecast in these units."""
    mean = replace(METHOD, scaling="mean", samples=3)
    fitted = mean.fit([table()], **QUIET)
    one = mean.apply([table()], fitted, **QUIET).samples[0]
    other = mean.apply([table().filled(1000 * table().values)], fitted, **QUIET).samples[0]
    np.testing.assert_allclose(other, 1000 * one, rtol=1e-3)


def test_a_covariate_that_says_all_is_read_at_the_row_it_is_of() -> None:
    """x_t = 3 c_t: a short training finds it, and nothing else in the table says it."""
    c = np.random.default_rng(1).choice([-1.0, 1.0], 500)
    series = Table(np.stack([3 * c, c], 1), np.arange(500.0), ("x", "c"))
    method = TimeGrad(
        horizon=4, context=4, covariates=("c",), scaling="standard", samples=20, dropout=0.0, T=20, end=0.4,
        layers=2, condition=8, training=TrainerConfig(250, 32, 1e-2, decay="onecycle"),
    )  # fmt: skip
    fitted = method.fit([series], **QUIET)
    empty = series.values.copy()
    empty[-4:, 0] = np.nan
    found = method.apply([series.filled(empty)], fitted, **QUIET).forecast[0]
    assert found.columns == ("x",)
    assert (np.sign(found.values[:, 0]) == c[-4:]).all()
    with pytest.raises(UserError, match="lacks c in the 4 rows to forecast"):
        method.apply([series], fitted, **QUIET)


def test_the_clock_and_the_lags_of_steps() -> None:
    day = clock(table(30, stamped=True), "hours")
    np.testing.assert_allclose(
        day[2], [1, 0, np.cos(2 * np.pi * 3 / 7), np.sin(2 * np.pi * 3 / 7)], atol=1e-12
    )
    np.testing.assert_allclose(day[8, :2], [0, 1], atol=1e-12)  # six o'clock of a Thursday, 29 February
    assert [lags_of("hours", h) for h in (1.0, 3.0)] == [(1, 24, 168), (1, 8, 56)]
    stamps = ("2024-01-01", "2024-01-02", "2024-01-03")
    assert step_of([Table(np.zeros((3, 1)), np.arange(3) * 24.0, ("a",), stamps=stamps)], 24.0) == "weekday"
    assert step_of([table()], 1.0) == "row"


def test_scores_are_gluonts() -> None:
    """Recorded: MultivariateEvaluator of gluonts 0.17.0, sum as the aggregate, of these draws and targets."""
    rng = np.random.default_rng(3)
    draws, target = rng.normal(size=(100, 6, 2)) + 2, rng.normal(size=(6, 2)) + 2
    every = np.ones((6, 2))
    each = crps(quantiles(draws, positions="nearest"), target, every)
    total = crps(quantiles(draws.sum(2), positions="nearest"), target.sum(1), every[:, 0])
    assert (each, total) == pytest.approx((0.21148137122352115, 0.1740865058673313), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": ("a", "c")}, "has no column c"),
        ({"covariates": ("a", "b")}, "leave one or more to forecast"),
        ({"columns": ("a",), "covariates": ("a",)}, "choose one of the two"),
        ({"lags": (1, 1)}, "give different numbers of rows"),
        ({"log": True, "scaling": "mean"}, "log goes with"),
    ],
)
def test_what_cannot_be_is_a_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(METHOD, **changes).fit([table(30)], **QUIET)
