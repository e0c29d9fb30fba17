"""TimeGrad: forecast several columns together, row after row, each drawn by a diffusion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC
from functools import cached_property
from typing import Any, ClassVar, Literal, Unpack, cast

import numpy as np
import torch
from torch import Tensor, nn

from headwater.controls import Clip
from headwater.core import Control, Denoiser, Diffusion
from headwater.core.denoiser import Error, sized
from headwater.core.prediction import labels
from headwater.data.gaps import read_quantiles
from headwater.data.series import Array, Table
from headwater.data.windows import Draws, Scale, check, in_order, say_other_steps, windows_of
from headwater.errors import need
from headwater.methods.base import Method, Paper, Samples, Series
from headwater.methods.series.timegrad.network import Past, TimeGradNet, TimeGradSizes
from headwater.methods.series.timegrad.rows import (
    CLOCK,
    Batch,
    Rows,
    Step,
    lags_of,
    season_of,
    step_of,
    windows,
)
from headwater.metrics.series import LEVELS, crps, mae, scores
from headwater.metrics.series import quantiles as levels_of
from headwater.models import ProcessConfig
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes
from headwater.models.pretrained import Pretrained
from headwater.noise import Purpose, White, derive
from headwater.notes import note
from headwater.sampling import Run, RunOptions, SamplerName, Start, sample, sampler_of, timesteps_of
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import at


@dataclass(frozen=True)
class Forecast:
    """What `TimeGrad.apply` returns, in the units of the input: rows that follow the last one."""

    forecast: Series
    """The median of the paths."""
    quantiles: Series
    """Columns `NAME q0.05` .. `NAME q0.95`."""
    samples: Samples
    """float32 (samples, horizon * D) per table: paths, row by row; each is one draw of the joint future."""


@dataclass(frozen=True)
class TimeGrad(Method):
    """Draw the next row of all columns by a diffusion that an RNN tells the past (Rasul et al. 2021, Alg. 1,
    2).

        h_t    = RNN(h_t-1, x_t-lags, clock_t, covariates_t)       x: values divided by their scale
        train  min |e - eps(a_n x_t + s_n e, n, h_t)|^2            over observed cells of context and horizon
        draw   x_t ~ diffusion given h_t; x_t is read as the past of t + 1, and so on for `horizon` rows

    Deviations from the reference code: what is missing does not count in the loss, cell by cell (there a row
    with a missing cell was meant to weigh nothing, and weighs as much as any; `masked_error` with
    reference=True); the RNN reads a missing value as the one before it, not as 0; a column of which nothing
    is observed in the context is scaled by its training mean, not by that of its batch; the width of the
    input is computed; scale and state are passed on, not kept in the module; the clock has fixed periods
    (there the largest value in each window decides); lags count hours, days and weeks of the table's own
    step; a single column is possible; columns known ahead (`covariates`), other kinds of `scaling`, `log`,
    `bound` and solvers are added. The noise predictor takes columns for neighbours on a circle, so the result
    depends on their order.

    >>> import numpy as np
    >>> import headwater as hw
    >>> from headwater.data.series import Table
    >>> from headwater.training import TrainerConfig
    >>> values = np.sin(np.arange(40) / 4)[:, None] + [20.0, 1000.0]
    >>> table = Table(values, np.arange(40.0), ("warmth", "pressure"))
    >>> method = hw.TimeGrad(horizon=3, context=6, T=5, samples=4, training=TrainerConfig(2, 4))
    >>> fitted = method.fit([table], seed=0, progress=False)
    >>> found = method.apply([table], fitted, seed=0, progress=False)
    >>> found.samples[0].shape, found.forecast[0].times
    ((4, 6), array([40., 41., 42.]))
    """

    paper: ClassVar[Paper] = Paper(
        title="Autoregressive Denoising Diffusion Models for Multivariate Probabilistic Time Series "
        "Forecasting",
        authors="Kashif Rasul, Calvin Seward, Ingmar Schuster, Roland Vollgraf",
        year=2021,
        venue="ICML",
        arxiv="2101.12072",
        code="zalandoresearch/pytorch-ts",
        claim="A diffusion head on an RNN forecasts the sum of the columns with a better CRPS than the "
        "season before and than a Gaussian head on the same RNN, keeps the columns' correlation, and gains "
        "little beyond some number of diffusion steps.",
    )
    needs: ClassVar[tuple[str, ...]] = ("series at even steps to learn from",)
    applied: ClassVar[tuple[str, ...]] = ("horizon", "samples", "sampler", "steps", "bound", "backtest")

    horizon: int = 24
    """Number of rows to forecast."""
    context: int = 24
    """Number of rows before the forecast that the RNN reads one after another."""
    lags: tuple[int, ...] = ()
    """Distances in rows of the earlier values that the RNN reads at each row; none takes those of the table's
    step: a row, a day and a week for hours."""
    columns: tuple[str, ...] = ()
    """Names of the columns to forecast; none takes all that are no covariates."""
    covariates: tuple[str, ...] = ()
    """Names of columns that are known ahead: tables hold them in the rows to forecast, too."""
    scaling: Literal["mean", "standard", "change"] = "mean"
    """Unit of the values: their mean size in the context, as in the paper; the deviation from the mean of all
    training values, for columns that may be below 0 or lie far from it; or that of the RNN's input, while the
    diffusion draws the change from the row before in deviations of such changes, for smooth columns."""
    log: bool = False
    """Whether skewed columns of numbers from 0 on are read by their logarithm; not with scaling "mean"."""
    samples: int = 100
    """Number of paths drawn of each table."""
    backtest: bool = False
    """Whether the last `horizon` rows of each table are hidden and forecast, in place of rows beyond it."""
    sampler: SamplerName = "ancestral"
    """Sampler of the diffusion; "ancestral" is the paper's."""
    steps: int | None = None
    """Number of timesteps visited for each row, one network call each; none visits all, as in the paper."""
    bound: float | None = None
    """Largest size of values while sampling, in units of the scale, also where changes from row to row are
    drawn, which may run away; the paper has none."""
    T: int = 100
    """Number of timesteps of the noise schedule."""
    schedule: Literal["linear", "quadratic", "cosine", "sigmoid"] = "linear"
    """Spacing of the variances."""
    start: float = 1e-4
    """Variance of the first timestep."""
    end: float = 0.1
    """Variance of the last timestep."""
    error: Error = "l2"
    """Measure of what the network gets wrong: its square, its size, or Huber's."""
    rnn: Literal["LSTM", "GRU"] = "LSTM"
    """Kind of the recurrent network."""
    rnn_layers: int = 2
    """Number of layers of the recurrent network."""
    cells: int = 40
    """Number of cells of a layer of the recurrent network."""
    dropout: float = 0.1
    """Probability that a feature between these layers is dropped in training."""
    condition: int = 100
    """Width of what the noise predictor is told of the past."""
    layers: int = 8
    """Number of residual layers of the noise predictor."""
    channels: int = 8
    """Number of channels of a residual layer."""
    step_dim: int = 16
    """Number of sines, and of cosines, that tell the timestep."""
    hidden: int = 64
    """Width of the embedding of the timestep."""
    cycle: int = 2
    """Number of residual layers in which dilations double before they begin anew at 1."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(2000, 64, 1e-2, decay="onecycle", weight_decay=1e-6)
    )
    """How both networks are trained; the default is the paper's 20 epochs of 100 batches."""

    def __post_init__(self) -> None:
        need(1 <= self.horizon <= 1 << 16, f"horizon is {self.horizon}: give 1 to 65536 rows to forecast")
        need(1 <= self.context <= 1 << 16, f"context is {self.context}: give 1 to 65536 rows to read")
        need(self.samples >= 1, "samples is a number of paths from 1 on")
        need(self.steps is None or self.steps >= 1, "steps is 1 or more, or none for all timesteps")
        need(self.bound is None or self.bound > 0, "bound is a positive number, or none")
        need(not self.log or self.scaling != "mean", 'log goes with scaling "standard" or "change": give one')
        need(0 < self.start <= self.end < 1, "start and end lie between 0 and 1, start not above end")
        both = {*self.columns} & {*self.covariates}
        need(not both, f"{', '.join(sorted(both))} is known ahead and to be forecast: choose one of the two")
        _check_lags(self.lags)

    def fit(self, series: Series, **how: Unpack[RunOptions]) -> FittedTimeGrad:
        """Train on every window of context and horizon of the tables, which share their columns.

        Raises UserError for no table, columns that there are not, or a column or table without any value.
        """
        run = Run(**how)
        config, places = self.lessons(series)
        fitted, q = FittedTimeGrad.fresh(config, run.seed), config.process.build()
        length = self.context + self.horizon

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            x = config.windows([places[i] for i in rows], length).to(run.device)
            seeds = [derive(run.seed, Purpose.TIMEGRAD_TRAINING, number, i) for i in range(len(rows))]
            draws = White().stream(seeds)
            t = at(draws.uniform(x.values[..., 0]), q.T)
            return masked_error(cast(TimeGradNet, network), q, x, t, draws(x.values), self.error)

        about = {**self.learnt(), "horizon": self.horizon, "windows": len(places)}
        return replace(fitted, network=train(fitted.network, loss, len(places), self.training, run, about))

    def lessons(self, series: Sequence[Table]) -> tuple[ForecasterConfig, list[tuple[Rows, int]]]:
        """What the numbers of tables mean to the network, and the windows to learn from."""
        need(len(series) > 0, "there is no series: give at least one table")
        held = series[0].columns
        columns = self.columns or tuple(name for name in held if name not in self.covariates)
        for name in (*columns, *self.covariates):
            need(name in held, f"{series[0].name} has no column {name}: it has {', '.join(held)}")
        need(len(columns) > 0, "all columns are covariates: leave one or more to forecast")
        series = [t.arranged(held) if {*t.columns} == {*held} else t for t in series]
        check(series)
        targets = [t.select(columns) for t in series]
        scale, known = Scale.of(targets, self.log), Scale.of([t.select(self.covariates) for t in series])
        if self.scaling == "mean":
            size = np.nanmean(np.abs(np.concatenate([t.values for t in targets])), 0)
            scale = Scale(np.zeros(len(columns)), np.where(size > 0, size, 1.0), scale.step)
        step = step_of(series, scale.step)
        if step == "row":
            note("times are no dates at a usual step: the network reads neither clock nor season")
        lags = self.lags or lags_of(step, scale.step)
        full = self.context + self.horizon + max(lags)
        for table in series:
            if len(table) < full:
                said = "what lies before its first is read as 0"
                note(f"it has {len(table)} rows, and a window with its lags {full}: {said}", table.name)
        own = {"columns", "lags", "extra"}
        sizes = {f.name: getattr(self, f.name) for f in fields(TimeGradSizes) if f.name not in own}
        extra = 2 * len(CLOCK.get(step, ())) + len(self.covariates)
        network = TimeGradSizes(len(columns), len(lags), extra, **sizes)
        low, high = (None, None) if self.schedule == "cosine" else (self.start, self.end)
        process = ProcessConfig(T=self.T, betas=self.schedule, low=low, high=high)
        pace = np.zeros(0)
        if self.scaling == "change":
            changes = np.nanstd(np.concatenate([np.diff(scale.normal(t.values), axis=0) for t in targets]), 0)
            pace = np.where(changes > 0, changes, 1.0)
        config = ForecasterConfig(
            network, columns, self.covariates, scale, known, pace, self.scaling, step, lags, self.context,
            process,
        )  # fmt: skip
        length = self.context + self.horizon
        return config, [
            (rows, min(start + length, len(table)) - length)
            for table in (t.arranged(columns + self.covariates) for t in series)
            for rows in [config.rows(table, length)]
            for _, start in windows_of([table.select(columns)], length)
        ]

    def apply(self, series: Series, fitted: FittedTimeGrad, **how: Unpack[RunOptions]) -> Forecast:
        """Draw paths of the rows after the last one with a value, by the fields in `applied`; the rest is
        `fitted`'s.

        Path i of a table depends on (seed, table, i) alone. Empty rows at a table's end are forecast; where
        there are fewer than `horizon`, more are added at its usual step. Raises UserError for tables without
        any value or with other columns in place of fitted ones, for covariates that are missing in rows to
        forecast, or more steps than the schedule has timesteps.
        """
        run, config, q = Run(**how), fitted.config, fitted.denoiser.process
        tables = in_order(series, config.columns + config.covariates)
        check(tables)
        say_other_steps(tables, config.scale.step)
        split = [config.split(table, self.horizon, self.backtest) for table in tables]
        sampler = sampler_of(self.sampler)
        even = self.steps is not None and sampler.multistep
        timesteps = timesteps_of(q, self.steps, "log-snr" if even else "respaced")
        controls = list[Control]()
        if self.bound is not None and config.scaling != "change":
            controls.append(Clip(-self.bound, self.bound))
        network = cast(TimeGradNet, fitted.network.eval())
        drawn = [np.empty((self.samples, self.horizon, len(config.columns)), np.float32) for _ in split]

        def key(item: int, draw: int) -> tuple[int, ...]:
            return run.first + item, draw

        for batch in run.track(run.batches(len(split), draws=self.samples, key=key), "tables"):
            numbers = [key(i, k) for i in batch.items for k in batch.draws]

            def draw(past: Tensor, row: int, numbers: list[tuple[int, ...]] = numbers) -> Tensor:
                def keyed(item: int, draw: int) -> tuple[int, ...]:
                    return Purpose.TIMEGRAD_PATHS, row, *numbers[item]

                return sample(
                    fitted.denoiser, timesteps, len(past),
                    lambda here: Start(
                        here.noise(x := here.empty(1, len(config.columns)), q.T), controls, {"past": past}
                    ),
                    replace(run, batch_size=len(past), progress=False),
                    sampler=sampler, key=keyed,
                )[:, 0].to(run.device)  # fmt: skip

            some = [split[i] for i in batch.items]
            paths = config.paths(network, some, len(batch.draws), self, draw, run.device)
            for i, of_one in zip(batch.items, paths, strict=True):
                drawn[i][batch.draws.start : batch.draws.stop] = of_one
        ahead = [table.part(n, n + self.horizon).select(config.columns) for table, n in split]
        both = [summed_up(table, paths) for table, paths in zip(ahead, drawn, strict=True)]
        samples = [paths.reshape(self.samples, -1) for paths in drawn]
        return Forecast([middle for middle, _ in both], [spread for _, spread in both], samples)

    def evaluate(
        self,
        forecast: Series,
        quantiles: Series,
        truth: Series,
        series: Series,
        samples: Samples | None = None,
    ) -> dict[str, float]:
        """Score the forecast rows whose times the truth has, all columns together.

        crps: normalised quantile loss over 19 levels, of the `quantiles`, or of the `samples` with GluonTS's
        positions (0 is perfect). mae, rmse: of the median, in the data's units. coverage90, coverage50: share
        of truths within the central intervals. mae_naive: of the season before in `series`, where that is
        known. crps_sum: of the sum of all columns, in rows whose truth is known throughout, as GluonTS's
        `m_sum_mean_wQuantileLoss`; from `samples`. cells: how many counted. Raises UserError where there
        is no cell to score.
        """
        y = np.concatenate([at_times(t, f) for t, f in zip(truth, forecast, strict=True)])
        middle = np.concatenate([f.values for f in forecast])
        pairs = zip(quantiles, forecast, strict=True)
        spread = np.concatenate([read_quantiles(q, f, LEVELS) for q, f in pairs], 1)
        naive = np.concatenate([season_before(s, f) for s, f in zip(series, forecast, strict=True)])
        known = np.isfinite(y)
        need(
            bool(known.any()),
            "the truth has no value at the times of the forecast: give tables that go on, or apply with "
            "backtest",
        )
        found = scores(spread[:, known], middle[known], y[known])
        if (both := known & np.isfinite(naive)).any():
            found["mae_naive"] = mae(naive, y, both)
        if samples is not None:
            shaped = [s.reshape(len(s), *f.values.shape) for s, f in zip(samples, forecast, strict=True)]
            paths = np.concatenate(shaped, 1)
            found["crps"] = crps(levels_of(paths, positions="nearest"), np.nan_to_num(y), known)
            if (whole := known.all(1)).any():
                sums = levels_of(paths.sum(2), positions="nearest")
                found["crps_sum"] = crps(sums, np.nan_to_num(y).sum(1), whole)
        return found


def masked_error(
    network: TimeGradNet,
    q: Diffusion,
    x: Batch,
    t: Tensor,
    eps: Tensor,
    error: Error = "l2",
    reference: bool = False,
) -> Tensor:
    """Error of the noise over the observed cells of a batch, a scalar.

    t (B, L) timesteps, eps (B, L, D). reference: over all cells, as in the reference code, whose weights of
    what is missing cancel.
    """
    past, _ = network.read(x.lagged, x.extra)
    flat, timesteps = x.values.flatten(0, 1)[:, None], t.flatten()
    noise = eps.flatten(0, 1)[:, None]
    noisy = q.combine(flat, noise, timesteps)
    out = network(noisy, labels(q.label, timesteps, noisy), past.flatten(0, 1)[:, None])
    size = sized(out - noise, error)[:, 0].view_as(x.values)
    if reference:
        return size.mean()
    return size.where(x.observed, torch.zeros_like(size)).sum() / x.observed.sum().clamp(min=1)


def summed_up(table: Table, paths: Draws) -> tuple[Table, Table]:
    """The median of paths (samples, L, D) of the rows of a table, and their quantiles, a column each."""
    spread = levels_of(paths)
    names = tuple(f"{name} q{level:g}" for name in table.columns for level in LEVELS)
    wide = spread.transpose(1, 2, 0).reshape(len(table), -1)
    return table.filled(spread[LEVELS.index(0.5)]), table.filled(wide, names)


def at_times(table: Table, forecast: Table) -> Array:
    """The values of a table in the rows and columns of a forecast, (L, D); NaN where it has none."""
    lacks = [name for name in forecast.columns if name not in table.columns]
    for name in lacks:
        note(f"the truth has no column {name}: it is not scored", table.name)
    there, here = moments(table), moments(forecast)
    row = np.searchsorted(there, here - NEAR).clip(max=len(there) - 1)
    found = table.arranged(forecast.columns).values[row]
    return np.where((np.abs(there[row] - here) <= NEAR)[:, None], found, np.nan)


NEAR = 1e-5
"""Hours within which two times are one."""


def moments(table: Table) -> Array:
    """Times (L,) that mean the same in any table: hours since 1970 where they are dates."""
    if (begin := table.begin) is None:
        return table.times
    begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
    return begin.timestamp() / 3600 + table.times - table.times[0]


def season_before(table: Table, forecast: Table) -> Array:
    """What a forecast must beat: the last season's values of what a table holds before it, (L, D); NaN where
    it has none."""
    before = table.part(0, int((moments(table) < moments(forecast)[0] - NEAR).sum()))
    usual = float(np.median(np.diff(table.times))) if len(table) > 1 else 1.0
    season = season_of(step_of([table], usual), usual)
    last = before.arranged(forecast.columns).values[-season:]
    if len(last) < season:
        return np.full(forecast.values.shape, np.nan)
    return last[np.arange(len(forecast)) % season]


@dataclass(frozen=True)
class ForecasterConfig:
    """Sizes of the networks and what their numbers mean."""

    network: TimeGradSizes
    columns: tuple[str, ...]
    """Names of the D columns that are forecast."""
    covariates: tuple[str, ...]
    """Names of those that are known ahead."""
    scale: Scale
    """Units of the columns; beside them those of each window, where `scaling` is mean."""
    known: Scale
    """Units of the covariates."""
    pace: Array
    """Deviations of the columns' changes in these units, where they are what is drawn."""
    scaling: Literal["mean", "standard", "change"]
    step: Step
    """How far rows lie apart."""
    lags: tuple[int, ...]
    context: int
    process: ProcessConfig

    def __post_init__(self) -> None:
        D, others = self.network.columns, len(self.covariates)
        same = {len(self.columns), len(self.scale.mean), len(self.scale.std), D} == {D}
        same &= {len(self.known.mean), len(self.known.std), others} == {others}
        same &= len(self.pace) == (D if self.scaling == "change" else 0)
        need(same, "names, scale and network are of different numbers of columns: fit again")
        extra = 2 * len(CLOCK.get(self.step, ())) + others
        need(self.network.extra == extra, f"of clock and covariates the network reads {extra} numbers")
        _check_lags(self.lags)
        need(len(self.lags) == self.network.lags, "the network reads another number of lags: fit again")
        need(1 <= self.context <= 1 << 16, "context is a number of rows from 1 to 65536")
        need(self.process.kind == "vp", "the process is one that preserves the variance, vp")

    def rows(self, table: Table, length: int) -> Rows:
        """A table with the columns of this config, for windows of that length."""
        D = len(self.columns)
        return Rows.of(table, D, self.scale, self.known, self.step, length + max(self.lags))

    def windows(self, places: Sequence[tuple[Rows, int]], length: int) -> Batch:
        """The windows of `length` rows that begin at the given rows, context first."""
        pace = torch.from_numpy(self.pace).float() if len(self.pace) else None
        return windows(places, length, self.context, self.lags, self.scaling == "mean", pace)

    def split(self, table: Table, horizon: int, backtest: bool = False) -> tuple[Table, int]:
        """A table that reaches to the end of the forecast, and the first row to forecast; what the network
        will not see as it is is noted. Raises UserError for a table that is too short, or covariates that
        end too early."""
        D, name = len(self.columns), table.name
        seen = np.isfinite(table.values[:, :D])
        n = int(np.flatnonzero(seen.any(1))[-1]) + 1
        if backtest:
            n = len(table) - horizon
            good = n > 0 and bool(seen[:n].any())
            need(good, f"{name} holds nothing before its last {horizon} rows: give a smaller horizon")
        elif len(table) > n + horizon:
            note(f"of its {len(table) - n} empty rows at the end the first {horizon} are forecast", name)
        if len(table) < n + horizon:
            table = table.extended(n + horizon - len(table))
        ahead = np.asarray(np.isfinite(table.values[n : n + horizon, D:]).all(0))
        lacks = [c for c, good in zip(self.covariates, ahead.tolist(), strict=True) if not good]
        need(
            not lacks,
            f"{name} lacks {', '.join(lacks)} in the {horizon} rows to forecast: covariates are known ahead, "
            "so add these rows with them, or fit without",
        )
        gaps = int((~seen[max(0, n - self.context) : n]).sum())
        if gaps:
            read = "empty cells are read as the value before"
            note(f"{read}: {gaps} in the {min(n, self.context)} rows before the forecast", name)
        steps = np.diff(table.times)
        if len(steps) and self.step != "month" and steps.max() > 1.5 * np.median(steps):
            note("its rows are not evenly apart, and the network counts rows", name)
        return table, n

    @torch.no_grad()
    def paths(
        self,
        network: Past,
        tables: Sequence[tuple[Table, int]],
        draws: int,
        method: TimeGrad,
        draw: Callable[[Tensor, int], Tensor],
        device: str,
    ) -> Array:
        """Paths of what follows row n of tables, (tables, draws, horizon, D), in the units of the tables.

        method: its `horizon` and `bound` count. draw: of what is known before row k of the forecast,
        (paths, 1, condition), the scaled values there, or their changes, (paths, D); those of one table
        together.
        """
        horizon, bound = method.horizon, method.bound or math.inf
        rows = [self.rows(table.part(0, n + horizon), self.context) for table, n in tables]
        starts = [(one, n - self.context) for one, (_, n) in zip(rows, tables, strict=True)]
        x, reach = self.windows(starts, self.context).to(device), max(self.lags)

        def repeated(value: Tensor, axis: int = 0) -> Tensor:
            return value.repeat_interleave(draws, axis)

        ends = [(one, one.before + n) for one, (_, n) in zip(rows, tables, strict=True)]
        history = torch.stack([one.values[end - reach : end] for one, end in ends]).to(device) / x.scale
        extra = repeated(torch.stack([one.extra[end : end + horizon] for one, end in ends]).to(device))
        state = tuple(repeated(part, 1) for part in network.read(x.lagged, x.extra)[1])
        found = list[Tensor]()
        for k in range(horizon):
            before = [found[k - i] if i <= k else repeated(history[:, reach + k - i]) for i in self.lags]
            past, state = network.read(torch.stack(before, -1)[:, None], extra[:, k : k + 1], state)
            drawn = draw(past, k)
            if len(self.pace):
                last = found[-1] if found else repeated(history[:, -1])
                drawn = last + drawn * torch.from_numpy(self.pace).to(drawn)
            found.append(drawn.clamp(-bound, bound))
        scaled = torch.stack(found, 1) * repeated(x.scale)
        return self.scale.units(scaled.unflatten(0, (len(tables), draws)).double().cpu().numpy())


def _check_lags(lags: tuple[int, ...]) -> None:
    good = len(set(lags)) == len(lags) and all(1 <= lag <= 100_000 for lag in lags)
    need(good, f"lags are {lags}: give different numbers of rows from 1 to 100000")


@dataclass(frozen=True, eq=False)
class FittedTimeGrad(Pretrained):
    """What `TimeGrad.fit` returns. network: a `TimeGradNet`, or anything with its `read` and its call."""

    config: ForecasterConfig

    kind = "timegrad"

    @classmethod
    def networks(cls, config: ForecasterConfig) -> Parts:
        return {"network": TimeGradNet(config.network)}

    @cached_property
    def denoiser(self) -> Denoiser:
        """It takes the condition `past` of `TimeGradNet.forward`."""
        return Denoiser(self.network, self.config.process.build(), "eps")

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """The state of a training or prediction network of zalandoresearch/pytorch-ts 0.6.

        Settings are its arguments that shapes do not say: `freq` (min, H, D, B, W or M), `context_length`,
        `beta_end`, `beta_schedule`, `lags_seq` and `dilation_cycle_length` where they are not 24, 0.1,
        linear, those of `freq` and 2; and `columns`, which it does not keep.
        """
        D, (gates, cells) = shapes["embed.weight"][0], shapes["rnn.weight_hh_l0"]
        freq = str(settings["freq"])
        need(freq in FREQUENCIES, f"freq is {freq}: give one of {', '.join(FREQUENCIES)}")
        step, usual = FREQUENCIES[freq]
        lags = tuple(settings.get("lags_seq") or lags_of(step, usual))
        own = "denoise_fn."
        blocks = [k for k in shapes if k.startswith(own) and k.endswith(".dilated_conv.weight")]
        hidden, step_width = shapes[f"{own}diffusion_embedding.projection1.weight"]
        sizes = TimeGradSizes(
            D, len(lags), shapes["rnn.weight_ih_l0"][1] - D * (len(lags) + 1),
            rnn="LSTM" if gates == 4 * cells else "GRU",
            rnn_layers=sum(name.startswith("rnn.weight_hh") for name in shapes), cells=cells,
            condition=shapes["proj_dist_args.proj.0.weight"][0], layers=len(blocks),
            channels=shapes[f"{own}input_projection.weight"][0], step_dim=step_width // 2, hidden=hidden,
            cycle=int(settings.get("dilation_cycle_length", 2)),
        )  # fmt: skip
        schedule = str(settings.get("beta_schedule", "linear")).replace("quad", "quadratic")
        process = ProcessConfig(
            T=shapes["diffusion.betas"][0],
            betas=schedule,
            low=1e-4,
            high=float(settings.get("beta_end", 0.1)),
        )
        columns = tuple(settings.get("columns") or (f"x{i}" for i in range(D)))
        none = Scale(np.zeros(0), np.ones(0), usual)
        config = ForecasterConfig(
            sizes, columns, (), Scale(np.zeros(D), np.ones(D), usual), none, np.zeros(0), "mean", step, lags,
            int(settings.get("context_length", 24)), process,
        )  # fmt: skip

        def name(given: str) -> str:
            return "network." + given.removeprefix("diffusion.").replace("proj_dist_args.proj.0", "condition")

        def unused(given: str) -> bool:
            return given.startswith("scaler.") or (
                given.startswith("diffusion.") and not given.startswith("diffusion.denoise_fn.")
            )

        return Layout(config, name, unused=unused)


FREQUENCIES: dict[str, tuple[Step, float]] = {
    "min": ("minutes", 1 / 60), "T": ("minutes", 1 / 60), "H": ("hours", 1.0), "D": ("day", 24.0),
    "B": ("weekday", 24.0), "W": ("week", 168.0), "M": ("month", 730.5),
}  # fmt: skip
"""pandas' names of steps, with their hours."""
