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
from headwater.core import Control, Denoiser, Diffusion, Sampler
from headwater.core.prediction import labels
from headwater.core.schedule import betas
from headwater.data.gaps import Cells, comparable, hidden_cells, imputed, read_quantiles, row_sums, straight
from headwater.data.series import Array
from headwater.data.windows import (
    PERIODS,
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
from headwater.methods.base import Method, Paper, Samples, Series
from headwater.metrics.series import LEVELS, crps, mae, scores
from headwater.metrics.series import quantiles as levels_of
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes
from headwater.models.pretrained import Pretrained
from headwater.nets.csdi import CSDIConfig, CSDINet
from headwater.noise import Purpose, Stream, White, derive
from headwater.notes import note
from headwater.sampling import (
    Run,
    RunOptions,
    SamplerName,
    Start,
    sample_batches,
    sampler_of,
    timesteps_of,
)
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import at

Strategy = Literal["random", "historical", "mix", "test", "blocks"]

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
    samples: Samples = field(default_factory=list)
    """float32 (samples, M) per table: the draws of its M empty cells, row by row."""


@dataclass(frozen=True)
class CSDI(Method):
    """Denoise the unknown cells while the network reads the given ones (Tashiro et al. 2021, Alg. 1, 2).

        x (K, L): a window.  C: the given cells.  M: the cells to find.  s = time, column and C embedded.
        x_t   = alpha_t x_0 + sigma_t e,     beta_t = (0.01 .. 0.71 evenly)^2, t = 1 .. T
        train   min sum_M (e - eps(C x_0, (1 - C) x_t, t, s))^2 / |M|,   C = observed cells less a part
        draw    x_T ~ N(0, 1);  x_t-1 ~ q(x_t-1 | x_t, x_0(x_t, eps))   on the unknown cells

    `given="pasted"` is the paper's unconditional variant: no C in the network; before each call the given
    cells are put in place, noised along one forward trajectory per draw (`headwater.controls.GivenRegion`);
    a solver, which builds on its last step, gets them in the estimate of x_0.

    The paper draws by q(x_t-1 | x_t, x_0), `sampler="ancestral"`, whose variance is right for data that are
    one point: of a Gaussian of deviation 0.1 to 1, which the network knows exactly, these 50 steps make one
    of 0.83 to 0.94 of it, 25 of 0.73 to 0.89, so that intervals are too narrow. DPM-Solver++ makes 1.00 to
    1.04 of it in 50 steps, or in 25 that are even in log(alpha / sigma), and is the default.

    Deviations from the reference code: the sampler; given cells are returned untouched, where it lets them
    drift; columns are normalised by training values only (the reference counts test series and held-out
    cells: a leak); the true median, not the lower one; quantiles at positions i / (S + 1), so that intervals
    cover what they say; draws are made together, and what depends on the input alone is computed once, not
    per step; time stamps count in steps since the window's first row, so that uneven ones differ, and long
    tables are cut into windows, of which the last owns all of a forecast. Steps of AdamW for epochs of Adam;
    `bound`, `calendar`, `log`, `integers` and the strategy "blocks". Linear attention and training on a
    subset of the columns, which the reference uses for 370 columns, are not built.

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
    applied: ClassVar[tuple[str, ...]] = ("samples", "sampler", "steps", "overlap", "horizon", "bound")

    length: int = 48
    """Number of rows of a window, which the network reads at once."""
    strategy: Strategy = "random"
    """Observed cells that training hides: a random share, those that another window lacks ("historical"),
    either of the two ("mix"), the last `horizon` rows ("test"), or a random share or runs of rows of some or
    all columns ("blocks")."""
    horizon: int = 0
    """Number of rows to forecast: "test" hides them in training, and `apply` adds as many empty rows to each
    table."""
    given: Literal["input", "pasted"] = "input"
    """Way in which the network learns of given cells; "pasted" is the unconditional variant."""
    calendar: bool = False
    """Whether the network reads where in the day, week and year each row lies, if times are dates."""
    log: bool = False
    """Whether skewed columns of numbers from 0 on are read by their logarithm: no draw is negative then."""
    integers: bool = False
    """Whether columns of whole numbers are learnt as values within half a unit of them, and draws of them
    rounded."""
    samples: int = 100
    """Number of draws per window."""
    sampler: SamplerName = "dpm-solver"
    """Sampler of the draws: "ancestral" is the paper's, whose intervals are too narrow."""
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
        scale, dated = Scale.of(series, self.log, self.integers), self._dated(series)
        columns, places = series[0].columns, windows_of(series, self.length)
        own = {"features": len(columns), "calendar": 2 * len(PERIODS) * dated}
        sizes = {f.name: getattr(self, f.name) for f in fields(CSDIConfig) if f.name not in own}
        network = CSDIConfig(**own, **sizes)
        config = ImputerConfig(network, columns, scale, self.length, self.chain)
        fitted, q = FittedCSDI.fresh(config, run.seed), self.chain.process()

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            some = [places[i] for i in rows]
            x = cut(some, self.length, scale, dated)
            seeds = [derive(run.seed, Purpose.CSDI_TRAINING, number, i) for i in range(len(rows))]
            draws = White().stream(seeds)
            known = hide(x.observed, self.strategy, self.horizon, draws)
            if any(scale.whole):  # the network is to draw from a density; what is given stays whole
                dither = draws.uniform(x.values).transpose(1, 2).double().numpy()
                blurred = cut(some, self.length, scale, dither=dither).values
                x = replace(x, values=x.values.where(known, blurred))
            x, known = x.to(run.device), known.to(run.device)
            t = at(draws.uniform(x.values[:, 0, 0]), q.T)
            return masked_error(network, q, x, known, t, draws(x.values))

        about = {**self.learnt(), "horizon": self.horizon, "columns": columns, "windows": len(places)}
        return replace(fitted, network=train(fitted.network, loss, len(places), self.training, run, about))

    def _dated(self, series: Series) -> bool:
        """Whether the network will read dates, which every table must then have."""
        dated = self.calendar and all(table.begin is not None for table in series)
        if self.calendar and not dated:
            note("times are plain numbers, not dates: the network reads no calendar")
        return dated

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
        for name, rows in (("overlap", self.overlap), ("horizon", self.horizon)):
            need(rows < config.length, f"{name} must be below the fitted length, {config.length}")
        series = [table.extended(self.horizon) if self.horizon else table for table in series]
        empty = EmptyCells(
            series, self.samples, config.length, self.overlap, config.scale, self.horizon,
            dated=config.network.calendar > 0,
        )  # fmt: skip
        sampler = sampler_of(self.sampler)
        # A solver is as good in half the steps where they are even in what it integrates over.
        even = self.steps is not None and sampler.multistep
        timesteps = timesteps_of(q, self.steps, "log-snr" if even else "respaced")
        fitted.network.eval()
        if run.device == "cpu":
            few = max(1, CELLS // (config.length * len(config.columns)))
            run = replace(run, batch_size=min(run.batch_size, few))

        @lru_cache(maxsize=1)  # batches of further draws of the same windows follow
        def read(items: range) -> tuple[Windows, Sequence[Tensor]]:
            windows = empty.windows(items).to(run.device)
            side: Any = fitted.network.side
            return windows, side(windows.times, windows.observed, **windows.clock)

        def key(item: int, draw: int) -> tuple[int, ...]:
            return 0, run.first + empty.places[item].table, empty.places[item].number, draw

        done = sample_batches(
            fitted.denoiser, timesteps, len(empty.places),
            lambda batch: fitted.start(*read(batch.items), batch.noise, self.bound, sampler), run,
            sampler=sampler, draws=self.samples, key=key, label="windows",
        )  # fmt: skip
        for batch, x in done if empty.places else ():
            empty.put(batch.items, batch.draws, x)
        both = [imputed(t, levels_of(d), LEVELS) for t, d in zip(series, empty.draws, strict=True)]
        return Imputation([filled for filled, _ in both], [table for _, table in both], empty.draws)

    def evaluate(
        self,
        filled: Series,
        quantiles: Series,
        truth: Series,
        series: Series,
        samples: Samples | None = None,
    ) -> dict[str, float]:
        """Score the cells that were empty in `series` and are not in `truth`, all columns together.

        crps: normalised quantile loss over 19 levels (0 is perfect). mae, rmse: of the median, in the data's
        units. coverage90, coverage50: share of truths within the central intervals. mae_lines: of straight
        lines between the given cells, where a column has any; columns in which they are closer are noted.
        crps_sum: of the sum of all columns, in rows whose truth is known throughout, with the field's
        positions of quantiles; from `samples`. cells: how many counted. Raises UserError where there is
        no cell to score.
        """
        both = [comparable(t, s, f) for t, s, f in zip(truth, series, filled, strict=True)]
        truth, given = [t for t, _ in both], [s for _, s in both]
        each = [hidden_cells(t, s) for t, s in both]
        hidden = np.concatenate(each)
        need(bool(hidden.any()), "no cell is empty in the series and known in the truth")
        pairs = zip(quantiles, filled, strict=True)
        spread = np.concatenate([read_quantiles(q, f, LEVELS) for q, f in pairs], 1)
        middle, y = (np.concatenate([t.values for t in tables]) for tables in (filled, truth))
        lines = np.concatenate([straight(s, len(t)) for s, t in zip(given, truth, strict=True)])
        lined = hidden & np.isfinite(lines)
        say_closer_lines(filled[0].columns, middle, lines, y, lined)
        found = scores(spread[:, hidden], middle[hidden], y[hidden])
        if lined.any():
            found["mae_lines"] = mae(lines, y, lined)
        if samples is not None:
            sums = [row_sums(f, s, d) for f, s, d in zip(filled, given, samples, strict=True)]
            share = np.where(np.isfinite(y).all(1), hidden.mean(1), 0.0)
            if share.any():
                spread = levels_of(np.concatenate(sums, 1), positions="linear")
                found["crps_sum"] = crps(spread, np.nan_to_num(y).sum(1), share)
        return found


def say_closer_lines(columns: Sequence[str], ours: Array, lines: Array, y: Array, lined: Cells) -> None:
    """Note the columns of which straight lines are closer to the truth than the median of the draws, where
    there is a line."""
    closer = []
    for k, name in enumerate(columns):
        a, b = (mae(v[:, k], y[:, k], lined[:, k]) for v in (ours, lines))
        if b < a:
            closer.append(f"{name} ({b:.3g} off, the median {a:.3g})")
    if closer:
        note(f"straight lines between the given cells are closer in {', '.join(closer)}")


def hide(observed: Tensor, strategy: Strategy, horizon: int, draws: Stream) -> Tensor:
    """The given cells among the observed ones of a batch, (B, K, L) bool; the others are the targets (Tashiro
    et al. 2021, sec. 4.3).

    random: all but a share drawn for each item. historical: all that the item before (the last, for the
    first) has too, so that gaps are shaped like real ones. mix: a coin per item between the two. test: all
    but the last `horizon` times. blocks, which is not the paper's: a coin per item between random and `runs`.
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
    other = observed & ~runs(like, draws) if strategy == "blocks" else historical
    return random.where(coin[:, None, None], other)


def runs(like: Tensor, draws: Stream) -> Tensor:
    """Runs of rows, (B, K, L) bool like a tensor of that shape: for half of the items one run in all columns,
    as when a logger fails, for the others one in every second column. Ends are evenly anywhere."""
    length, coin = like.shape[-1], draws.uniform(like[:, 0, 0])[:, None, None] > 0.5
    ends = torch.stack([draws.uniform(like[..., 0]) for _ in range(2)], -1).sort(-1).values
    ends = (ends[:, :1].where(coin, ends) * (length + 1)).floor()
    hit = coin | (draws.uniform(like[..., :1]) > 0.5)
    rows = torch.arange(length)
    return hit & (rows >= ends[..., :1]) & (rows < ends[..., 1:])


def masked_error(
    network: nn.Module, q: Diffusion, x: Windows, known: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """Squared error of the noise over the targets, divided by their number in the whole batch; a scalar
    (eq. 9).

    Targets are the cells that are observed and not `known` (B, K, L) bool; t (B,) timesteps, eps (B, K, L).
    """
    target = x.observed & ~known
    noisy = q.combine(x.values, eps, t)
    side = network.side(x.times, known, **x.clock)  # type: ignore[operator]
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
        scale = self.scale
        K = {len(self.columns), len(scale.mean), len(scale.std), self.network.features}
        K |= {len(own) for own in (scale.offset, scale.whole) if len(own)}
        dates = self.network.calendar in (0, 2 * len(PERIODS))
        need(dates, f"a network reads {2 * len(PERIODS)} numbers of the calendar, or none")
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
        self,
        windows: Windows,
        side: Sequence[Tensor],
        noise: Stream,
        bound: float | None = None,
        sampler: Sampler | None = None,
    ) -> Start:
        """The loop from pure noise to n draws of each whole window, (windows * n, K, L), normalised.

        noise: windows * n seeds, those of a window together. side: what `CSDINet.side` says of the windows.
        sampler: which one will take the steps, if not the paper's.
        """
        q, n = self.denoiser.process, len(noise.generators) // len(windows.values)
        given, known = (v.repeat_interleave(n, 0) for v in (windows.values, windows.observed))
        controls: list[Control] = [] if bound is None else [Clip(-bound, bound)]
        if self.config.network.given == "pasted" and sampler is not None and sampler.multistep:
            controls.append(GivenRegion(given, known, place="estimate"))
        elif self.config.network.given == "pasted":
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
