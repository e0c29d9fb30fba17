"""CSDI: fill the empty cells of multivariate series with draws from what they may have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from headwater.controls import Clip, GivenRegion, forward_trajectory
from headwater.core import Control, Denoiser, Diffusion
from headwater.core.prediction import labels
from headwater.core.schedule import betas
from headwater.data.gaps import comparable, hidden_cells, imputed, read_quantiles
from headwater.data.windows import (
    Draws,
    EmptyCells,
    Scale,
    Windows,
    check,
    cut,
    in_order,
    say_other_steps,
    windows_of,
)
from headwater.errors import UserError, need
from headwater.methods.base import Method, Paper, Series
from headwater.metrics.series import LEVELS, quantiles, scores
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes
from headwater.models.pretrained import Pretrained
from headwater.nets.csdi import CSDIConfig, CSDINet
from headwater.noise import Purpose, Stream, White, derive
from headwater.sampling import Run, RunOptions, Start, sample_batches, timesteps_of
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import at

Strategy = Literal["random", "historical", "mix", "test"]

CELLS = 27_000
"""Cells of a network call on a CPU: 16 windows of 48 x 35, of which a layer of 64 channels takes 7 MB. Forty
of them leave the cache and take 1.7 times as long each."""


@dataclass(frozen=True)
class Chain:
    """The noise schedule: `T` variances from `start` to `end`; "quadratic" spaces their roots evenly."""

    T: int = 50
    """Number of timesteps."""
    schedule: Literal["quadratic", "linear"] = "quadratic"
    """Spacing of the variances."""
    start: float = 1e-4
    """Variance of the first timestep."""
    end: float = 0.5
    """Variance of the last timestep."""

    def __post_init__(self) -> None:
        need(1 <= self.T <= 100_000, f"a chain has 1 to 100000 timesteps, not {self.T}")
        need(0 < self.start <= self.end < 1, "betas lie between 0 and 1, the first not above the last")
        need(self.schedule in ("quadratic", "linear"), "schedule is 'quadratic' or 'linear'")

    def process(self) -> Diffusion:
        """Timestep t = 1 .. T of the process is step t - 1 of the paper's code."""
        return Diffusion.vp(betas(self.schedule, self.T, start=self.start, end=self.end))


@dataclass(frozen=True)
class Imputation:
    """What `CSDI.apply` returns, in the units of the input; given cells are as they were."""

    filled: Series
    """Empty cells hold the median of the draws."""
    quantiles: Series
    """Columns `NAME q0.05` .. `NAME q0.95`, for each column with an empty cell (all, if none has)."""
    samples: list[Draws] = field(default_factory=list)
    """float32 (samples, M) per table: the draws of its M empty cells, row by row."""


@dataclass(frozen=True)
class CSDI(Method):
    """Denoise the unknown cells while the network reads the given ones (Tashiro et al. 2021, Alg. 1, 2).

        x (K, L): a window.  C: the given cells.  M: the cells to find.  s = time, column and C embedded.
        x_t   = alpha_t x_0 + sigma_t e,     beta_t = (0.01 .. 0.71 evenly)^2, t = 1 .. T
        train   min sum_M (e - eps(C x_0, (1 - C) x_t, t, s))^2 / |M|,   C = observed cells less a part
        draw    x_T ~ N(0, 1);  x_t-1 ~ q(x_t-1 | x_t, x_0(x_t, eps))   on the unknown cells

    `given="pasted"` is the paper's unconditional variant: no C in the network; before each call the given
    cells are put in place, noised along one forward trajectory per draw (`headwater.controls.GivenRegion`).

    Deviations from the reference code: given cells are returned untouched, where it lets them drift; columns
    are normalised by training values only (the reference counts test series and held-out cells: a leak); the
    true median, not the lower one; quantiles at positions i / (S + 1), so that intervals cover what they say;
    draws are made together, and what depends on the input alone is computed once, not per step; time
    stamps count in steps since the window's first row, so that uneven ones differ, and long tables are cut
    into windows. Steps of AdamW for epochs of Adam; `bound`. Linear attention and training on a subset of the
    columns, which the reference uses for 370 columns, are not built.

    >>> import numpy as np
    >>> import headwater as hw
    >>> from headwater.data.series import Table
    >>> from headwater.training import TrainerConfig
    >>> values = np.sin(np.arange(40) / 4)[:, None] + [20.0, 1000.0]
    >>> values[5:9, 0] = np.nan
    >>> table = Table(values, np.arange(40.0), ("warmth", "pressure"))
    >>> method = hw.CSDI(length=24, samples=3, layers=1, channels=16, training=TrainerConfig(2, 4))
    >>> fitted = method.fit([table], seed=0, progress=False)
    >>> method.apply([table], fitted, seed=0, progress=False).samples[0].shape
    (3, 4)
    """

    paper: ClassVar[Paper] = Paper(
        title="CSDI: Conditional Score-based Diffusion Models for Probabilistic Time Series Imputation",
        authors="Yusuke Tashiro, Jiaming Song, Yang Song, Stefano Ermon",
        year=2021,
        venue="NeurIPS",
        arxiv="2107.03502",
        code="ermongroup/CSDI",
        claim="A diffusion model that sees the given cells fills series with a better CRPS than an "
        "unconditional one, with a smaller error than interpolation, and with calibrated intervals.",
    )
    needs: ClassVar[tuple[str, ...]] = ("series with some observed cells to learn from",)
    applied: ClassVar[tuple[str, ...]] = ("samples", "steps", "overlap", "horizon", "bound")

    length: int = 48
    """Number of rows of a window, which the network reads at once."""
    strategy: Strategy = "random"
    """Observed cells that training hides: a random share, those that another window lacks, either, or the
    last `horizon` rows ("test")."""
    horizon: int = 0
    """Number of rows to forecast: "test" hides them in training, and `apply` adds as many empty rows to each
    table."""
    given: Literal["input", "pasted"] = "input"
    """Way in which the network learns of given cells; "pasted" is the unconditional variant."""
    samples: int = 100
    """Number of draws per window."""
    steps: int | None = None
    """Number of timesteps visited, one network call each; none visits all of the chain, as in the paper."""
    overlap: int = 0
    """Number of rows that neighbouring windows of a long table share; each answers for the half far from its
    edge."""
    bound: float | None = None
    """Largest size of estimated clean values while sampling, in training deviations: a briefly trained
    network needs it; the paper has none."""
    chain: Chain = Chain()
    """Noise schedule of the process."""
    layers: int = 4
    """Number of residual layers, each attending over time and over columns."""
    channels: int = 64
    """Number of channels of a layer, a multiple of `heads`."""
    heads: int = 8
    """Number of attention heads."""
    step_dim: int = 128
    """Width of the embedding of the timestep."""
    time_dim: int = 128
    """Width of the embedding of a row's time."""
    feature_dim: int = 16
    """Width of the learned embedding of a column."""
    dropout: float = 0.1
    """Probability that a feature of the attention layers is dropped in training."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(35_000, 16, 1e-3, decay="step", weight_decay=1e-6)
    )
    """How the network is trained; the default is 200 epochs of the paper's 2,800 patients."""

    def __post_init__(self) -> None:
        need(self.length >= 1 and self.samples >= 1, "length and samples are 1 or more")
        need(self.steps is None or self.steps >= 1, "steps is 1 or more, or none for all timesteps")
        need(0 <= self.overlap < self.length, "overlap is at least 0 and below length")
        need(self.bound is None or self.bound > 0, "bound is a positive number of deviations, or none")
        need(0 <= self.horizon < self.length, "horizon is at least 0 and below length")
        need(self.strategy != "test" or self.horizon > 0, 'strategy "test" hides rows: give a horizon')

    def fit(self, series: Series, **how: Unpack[RunOptions]) -> FittedCSDI:
        """Train on every window of the tables, which share their columns.

        Raises UserError for no table, other columns, or a column or table without any value.
        """
        run = Run(**how)
        series = [
            t.arranged(series[0].columns) if {*t.columns} == {*series[0].columns} else t for t in series
        ]
        check(series)
        scale, columns, places = Scale.of(series), series[0].columns, windows_of(series, self.length)
        sizes = {f.name: getattr(self, f.name) for f in fields(CSDIConfig) if f.name != "features"}
        network = CSDIConfig(features=len(columns), **sizes)
        config = ImputerConfig(network, columns, scale, self.length, self.chain)
        fitted, q = FittedCSDI.fresh(config, run.seed), self.chain.process()

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            x = cut([places[i] for i in rows], self.length, scale)
            seeds = [derive(run.seed, Purpose.CSDI_TRAINING, number, i) for i in range(len(rows))]
            draws = White().stream(seeds)
            known = hide(x.observed, self.strategy, self.horizon, draws).to(run.device)
            x = x.to(run.device)
            t = at(draws.uniform(x.values[:, 0, 0]), q.T)
            return masked_error(network, q, x, known, t, draws(x.values))

        about = {**self.learnt(), "horizon": self.horizon, "columns": columns, "windows": len(places)}
        return replace(fitted, network=train(fitted.network, loss, len(places), self.training, run, about))

    def apply(self, series: Series, fitted: FittedCSDI, **how: Unpack[RunOptions]) -> Imputation:
        """Fill the empty cells by the fields in `applied`; the rest is `fitted`'s.

        Draw i of window j of a table depends on (seed, table, j, i) alone; windows without an empty cell cost
        nothing. Columns that a table lacks or leaves empty are filled from the others, and those that were
        not fitted are left out; both is noted. Raises UserError for a table without any value or with other
        columns in place of fitted ones, or more steps than the chain has timesteps.
        """
        run, config, q = Run(**how), fitted.config, fitted.denoiser.process
        series = in_order(series, config.columns)
        check(series)
        say_other_steps(series, config.scale.step)
        need(self.overlap < config.length, f"overlap must be below the fitted length, {config.length}")
        series = [table.extended(self.horizon) if self.horizon else table for table in series]
        empty = EmptyCells(series, self.samples, config.length, self.overlap, config.scale)
        fitted.network.eval()
        if run.device == "cpu":
            few = max(1, CELLS // (config.length * len(config.columns)))
            run = replace(run, batch_size=min(run.batch_size, few))

        @lru_cache(maxsize=1)  # batches of further draws of the same windows follow
        def read(items: range) -> tuple[Windows, Sequence[Tensor]]:
            windows = empty.windows(items).to(run.device)
            return windows, fitted.network.side(windows.times, windows.observed)  # type: ignore[operator]

        def key(item: int, draw: int) -> tuple[int, ...]:
            return 0, run.first + empty.places[item].table, empty.places[item].number, draw

        done = sample_batches(
            fitted.denoiser, timesteps_of(q, self.steps), len(empty.places),
            lambda batch: fitted.start(*read(batch.items), batch.noise, self.bound), run,
            draws=self.samples, key=key, label="windows",
        )  # fmt: skip
        for batch, x in done if empty.places else ():
            empty.put(batch.items, batch.draws, x)
        both = [imputed(t, quantiles(d), LEVELS) for t, d in zip(series, empty.draws, strict=True)]
        return Imputation([filled for filled, _ in both], [table for _, table in both], empty.draws)

    def evaluate(self, filled: Series, quantiles: Series, truth: Series, series: Series) -> dict[str, float]:
        """Score the cells that were empty in `series` and are not in `truth`, all columns together.

        crps: normalised quantile loss over 19 levels (0 is perfect). mae, rmse: of the median, in the data's
        units. coverage90, coverage50: share of truths within the central intervals. cells: how many counted.
        Raises UserError where there is no cell to score.
        """
        both = [comparable(t, s, f) for t, s, f in zip(truth, series, filled, strict=True)]
        truth = [t for t, _ in both]
        hidden = np.concatenate([hidden_cells(t, s) for t, s in both])
        need(bool(hidden.any()), "no cell is empty in the series and known in the truth")
        pairs = zip(quantiles, filled, strict=True)
        spread = np.concatenate([read_quantiles(q, f, LEVELS) for q, f in pairs], 1)
        middle, y = (np.concatenate([t.values for t in tables]) for tables in (filled, truth))
        return scores(spread[:, hidden], middle[hidden], y[hidden])


def hide(observed: Tensor, strategy: Strategy, horizon: int, draws: Stream) -> Tensor:
    """The given cells among the observed ones of a batch, (B, K, L) bool; the others are the targets (Tashiro
    et al. 2021, sec. 4.3).

    random: all but a share drawn for each item. historical: all that the item before (the last, for the
    first) has too, so that gaps are shaped like real ones. mix: a coin per item between the two. test: all
    but the last `horizon` times.
    """
    if strategy == "test":
        length = observed.shape[-1]
        return observed & (torch.arange(length) < length - horizon)
    historical, like = observed & observed.roll(1, 0), observed.float()
    if strategy == "historical":
        return historical
    keys, ratio = draws.uniform(like).flatten(1), draws.uniform(like[:, 0, 0])
    flat = observed.flatten(1)
    order = keys.masked_fill(~flat, -1.0).argsort(1, descending=True)
    hidden = order.argsort(1) < (flat.sum(1) * ratio).round()[:, None]
    random = (flat & ~hidden).view_as(observed)
    if strategy == "random":
        return random
    coin = draws.uniform(like[:, 0, 0]) > 0.5
    return random.where(coin[:, None, None], historical)


def masked_error(
    network: nn.Module, q: Diffusion, x: Windows, known: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """Squared error of the noise over the targets, divided by their number in the whole batch; a scalar
    (eq. 9).

    Targets are the cells that are observed and not `known` (B, K, L) bool; t (B,) timesteps, eps (B, K, L).
    """
    target = x.observed & ~known
    noisy = q.combine(x.values, eps, t)
    side = network.side(x.times, known)  # type: ignore[operator]
    out = network(noisy, labels(q.label, t, noisy), side, x.values, known)
    error = (out - eps).square().where(target, torch.zeros_like(eps))
    return error.sum() / target.sum().clamp(min=1)


@dataclass(frozen=True)
class ImputerConfig:
    """Sizes of the network and what its numbers mean."""

    network: CSDIConfig
    columns: tuple[str, ...]
    """Names of the K columns."""
    scale: Scale
    """In which mean, deviation and time step they are measured."""
    length: int
    """Rows of a window."""
    chain: Chain

    def __post_init__(self) -> None:
        K = {len(self.columns), len(self.scale.mean), len(self.scale.std), self.network.features}
        need(len(K) == 1, "names, scale and network are of different numbers of columns: fit again")
        need(self.length >= 1, "a window has 1 row or more")


@dataclass(frozen=True, eq=False)
class FittedCSDI(Pretrained):
    """What `CSDI.fit` returns. network: `CSDINet`, or anything with its `side` and its call."""

    config: ImputerConfig

    kind = "csdi"

    @classmethod
    def networks(cls, config: ImputerConfig) -> Parts:
        return {"network": CSDINet(config.network)}

    @cached_property
    def denoiser(self) -> Denoiser:
        """It takes the conditions side, given and known of `CSDINet.forward`."""
        return Denoiser(self.network, self.config.chain.process(), "eps")

    def start(
        self, windows: Windows, side: Sequence[Tensor], noise: Stream, bound: float | None = None
    ) -> Start:
        """The loop from pure noise to n draws of each whole window, (windows * n, K, L), normalised.

        noise: windows * n seeds, those of a window together. side: what `CSDINet.side` says of the windows.
        """
        q, n = self.denoiser.process, len(noise.generators) // len(windows.values)
        given, known = (v.repeat_interleave(n, 0) for v in (windows.values, windows.observed))
        controls: list[Control] = [] if bound is None else [Clip(-bound, bound)]
        if self.config.network.given == "pasted":
            controls.append(GivenRegion(given, known, q, forward_trajectory(q, given, noise)))
        return Start(noise(given, q.T), controls, {"side": side, "given": given, "known": known})

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """ermongroup/CSDI: settings are the `diffusion` and `model` parts of its YAML file.

        It keeps neither columns nor units, which may be given as `columns`, `mean`, `std` and `length`;
        without, columns are x0, x1, ... and values are taken as already normalised.
        """
        K = shapes["embed_layer.weight"][0]
        try:
            diffusion, model = settings["diffusion"], settings["model"]
            network = CSDIConfig(
                features=K,
                layers=diffusion["layers"],
                channels=diffusion["channels"],
                heads=diffusion["nheads"],
                step_dim=diffusion["diffusion_embedding_dim"],
                time_dim=model["timeemb"],
                feature_dim=model["featureemb"],
                given="pasted" if model["is_unconditional"] else "input",
            )
            schedule = "quadratic" if diffusion["schedule"] == "quad" else "linear"
            chain = Chain(diffusion["num_steps"], schedule, diffusion["beta_start"], diffusion["beta_end"])
        except KeyError as error:
            raise UserError(f"the config does not give {error}: take the reference's YAML file") from None
        need(not diffusion.get("is_linear"), "linear attention is not built here: use a quadratic checkpoint")
        columns = tuple(settings.get("columns") or (f"x{i}" for i in range(K)))
        mean = np.array(settings.get("mean", [0] * K), float)
        std = np.array(settings.get("std", [1] * K), float)
        scale = Scale(mean, std, float(settings.get("step", 1.0)))
        config = ImputerConfig(network, columns, scale, int(settings.get("length", 48)), chain)
        return Layout(config, "network.{}".format)
