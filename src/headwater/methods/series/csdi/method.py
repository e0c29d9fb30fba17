"""CSDI: fill the empty cells of multivariate series with draws from what they may have been."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Unpack

from torch import Tensor, nn

from headwater.errors import need
from headwater.methods.base import Method, Paper, Series
from headwater.methods.series.csdi.fitted import Chain, FittedCSDI, ImputerConfig
from headwater.methods.series.csdi.imputing import Drawing, impute
from headwater.methods.series.csdi.masks import Strategy, hide
from headwater.methods.series.csdi.quantile_tables import Imputation, score
from headwater.methods.series.csdi.training import masked_loss, training_draws
from headwater.methods.series.csdi.windows import Scale, check, cut, windows_of
from headwater.nets.csdi import CSDIConfig
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig, train

_CHAIN = Chain()
_TRAINING = TrainerConfig(35_000, 16, 1e-3, decay="step", weight_decay=1e-6)


@dataclass(frozen=True)
class CSDI(Method):
    """Denoise the unknown cells while the network sees the given ones (Tashiro et al. 2021, Alg. 1, 2).

        x (K, L): a window.  C: the given cells.  M: the cells to find.  s = time, column and C embedded.
        x_t   = alpha_t x_0 + sigma_t e,     beta_t = (0.01 .. 0.71 evenly)^2, t = 1 .. T
        train   min sum_M (e - eps(C x_0, (1 - C) x_t, t, s))^2 / |M|,   C = observed cells less a part
        draw    x_T ~ N(0, 1);  x_t-1 ~ q(x_t-1 | x_t, x_0(x_t, eps))   on the unknown cells

    `given="pasted"` is the paper's unconditional variant: no C in the network; before each call the given
    cells are put in place, noised along one forward chain per draw (`repaint.Known`).

    Deviates from the reference code: given cells are returned untouched; columns are normalised by training
    values only (the reference counts test series and held-out cells: a leak); the true median, not the
    lower one; draws are made side by side, and what depends on the input alone is computed once, not per
    step; time stamps count in steps since the window's first row, so uneven ones are told apart, and long
    tables are cut into windows. AdamW for Adam. Linear attention and column subsets are not built.
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
    """Rows of a window: what the network sees at once."""
    strategy: Strategy = "random"
    """Which observed cells training hides: a random share, those that another window lacks, either, or the
    last `horizon` rows ("test")."""
    horizon: int = 0
    """Rows to forecast: "test" hides them in training, and `apply` adds so many empty rows to each table."""
    given: Literal["input", "pasted"] = "input"
    """How the network learns of given cells; "pasted" is the unconditional variant."""
    samples: int = 100
    """Draws per window."""
    steps: int | None = None
    """Levels visited on the way down, one network call each; None: all of the chain, as in the paper."""
    overlap: int = 0
    """Rows that neighbouring windows of a long table share; each answers for the half far from its edge."""
    bound: float | None = None
    """Keep estimates of the clean values within so many training deviations while drawing: a briefly trained
    network needs it. The paper has none."""
    chain: Chain = _CHAIN
    """The noise schedule."""
    layers: int = 4
    """Residual layers, each attending over time and over columns."""
    channels: int = 64
    """Width of a layer; a multiple of `heads`."""
    heads: int = 8
    """Attention heads."""
    step_dim: int = 128
    """Numbers that embed the noise level."""
    time_dim: int = 128
    """Numbers that embed a row's time."""
    feature_dim: int = 16
    """Numbers learnt for each column."""
    dropout: float = 0.1
    """Of the attention layers, while training."""
    training: TrainerConfig = _TRAINING
    """200 epochs of the paper's 2,800 patients."""

    def __post_init__(self) -> None:
        need(self.length >= 1 and self.samples >= 1, "length and samples are 1 or more")
        need(self.steps is None or self.steps >= 1, "steps is 1 or more, or none for all levels")
        need(0 <= self.overlap < self.length, "overlap is at least 0 and below length")
        need(self.bound is None or self.bound > 0, "bound is a positive number of deviations, or none")
        need(0 <= self.horizon < self.length, "horizon is at least 0 and below length")
        need(self.strategy != "test" or self.horizon > 0, 'strategy "test" hides rows: give a horizon')

    def fit(self, series: Series, **how: Unpack[RunOptions]) -> FittedCSDI:
        """Train on every window of the tables, which share their columns.

        Raises UserError for no table, other columns, or a column or table without any value.
        """
        run = Run(**how)
        check(series)
        scale, columns = Scale.of(series), series[0].columns
        places = windows_of(series, self.length)
        config = CSDIConfig(
            len(columns), self.layers, self.channels, self.heads, self.step_dim, self.time_dim,
            self.feature_dim, self.dropout, self.given,
        )  # fmt: skip
        described = ImputerConfig(config, columns, scale, self.length, self.chain)
        fitted = FittedCSDI.fresh(described, run.seed)
        q = self.chain.process()

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            x = cut([places[i] for i in rows], self.length, scale)
            draws = training_draws(run, number, len(rows))
            known = hide(x.observed, self.strategy, self.horizon, draws)
            return masked_loss(network, q, x.to(run.device), known.to(run.device), draws)

        about = {"columns": columns, "length": self.length, "strategy": self.strategy, "given": self.given}
        about |= {"horizon": self.horizon, "windows": len(places)}
        return replace(fitted, network=train(fitted.network, loss, len(places), self.training, run, about))

    def apply(self, series: Series, fitted: FittedCSDI, **how: Unpack[RunOptions]) -> Imputation:
        """Fill the empty cells by the fields in `applied`; the rest is `fitted`'s.

        Draw i of window j of a table depends on (seed, table, j, i) alone. Raises UserError for other
        columns than the fitted ones, a table without any value, or more steps than the chain has levels.
        """
        run = Run(**how)
        check(series, fitted.config.columns)
        need(
            self.overlap < fitted.config.length,
            f"overlap must be below the fitted length, {fitted.config.length}",
        )
        series = [table.extended(self.horizon) if self.horizon else table for table in series]
        return Imputation.of(
            series, impute(series, fitted, Drawing(self.samples, self.overlap, self.bound, self.steps), run)
        )

    def evaluate(self, filled: Series, quantiles: Series, truth: Series, series: Series) -> dict[str, float]:
        """Score the cells that were empty in `series` and are not in `truth`, all columns together.

        crps: normalised quantile loss over 19 levels (0 is perfect). mae, rmse: of the median, in the data's
        units. coverage90, coverage50: share of truths within the central intervals. cells: how many counted.
        """
        return score(filled, quantiles, truth, series)
