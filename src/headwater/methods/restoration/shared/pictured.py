"""A diffusion whose network sees a picture and is told how much of the data is left: SR3 and Palette.

Told a level in place of a timestep, a network can be walked along any schedule, however few its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from headwater.controls import Clip
from headwater.core import Control, Denoiser, Diffusion
from headwater.core.denoiser import Error, sized
from headwater.core.prediction import labels
from headwater.core.schedule import linear
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.adm import UNetConfig
from headwater.nets.image_conditioned import ConcatenatedUNet
from headwater.nets.level_unet import LevelUNet, LevelUNetConfig
from headwater.noise import Purpose, White, derive
from headwater.sampling import Batch, Run, Start, sample, timesteps_of
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import between, uniform


@dataclass(frozen=True)
class Betas:
    """A chain of evenly spaced variances."""

    T: int = 2000
    """Number of timesteps."""
    start: float = 1e-6
    """Variance of the first step."""
    end: float = 1e-2
    """Variance of the last step."""

    def __post_init__(self) -> None:
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS} timesteps")
        rise = 0 < self.start <= self.end < 1
        need(rise, f"variances go from {self.start} to {self.end}: let them rise between 0 and 1")

    def signal(self) -> Tensor:
        """sqrt(abar), float64 (T + 1,), from 1."""
        return Diffusion.vp(linear(self.T, self.start, self.end)).alpha


@dataclass(frozen=True)
class PicturedConfig:
    """Sizes and chain."""

    network: LevelUNetConfig | UNetConfig
    """Of SR3's network, or of guided diffusion's, which Palette has."""
    shape: tuple[int, int, int]
    """(C, H, W) of what is drawn."""
    betas: Betas = Betas()
    power: int = 1
    """The network is told sqrt(abar) to this power: 1 in SR3, 2 in Palette."""
    scale: float = 1.0
    """What that is multiplied by before it is told."""
    predicts: Literal["eps", "v", "x0"] = "eps"
    """What the network answers, see `Denoiser`."""
    factor: int = 1
    """How many times smaller the picture that is seen was, a side."""

    def __post_init__(self) -> None:
        need(self.factor >= 1, f"factor is {self.factor}: give 1 or more")
        need(self.power in (1, 2), f"power is {self.power}: give 1 for sqrt(abar), 2 for abar")
        fold = self.network.downsampling
        fits = self.shape[1] % fold == 0 and self.shape[2] % fold == 0
        need(
            fits, f"pictures are {self.shape[1]} x {self.shape[2]}: resize them to multiples of {fold} a side"
        )

    def told(self, signal: Tensor) -> Tensor:
        """What the network is told of levels sqrt(abar)."""
        return self.scale * signal**self.power

    def process(self, signal: Tensor) -> Diffusion:
        """A process with these levels sqrt(abar), (n,) float64 below 1, after the clean one."""
        one, zero = signal.new_ones(1), signal.new_zeros(1)
        noise = (1 - signal.square()).clamp(min=0).sqrt()
        return Diffusion(
            torch.cat([one, signal]), torch.cat([zero, noise]), torch.cat([zero, self.told(signal)])
        )


@dataclass(frozen=True, eq=False)
class Pictured(Pretrained):
    """A network that draws one picture while it sees another."""

    network: LevelUNet | ConcatenatedUNet
    config: PicturedConfig

    @classmethod
    def networks(cls, config: Any) -> Parts:
        """SR3's network; Palette has its own."""
        need(isinstance(config.network, LevelUNetConfig), "the network described is another one than SR3's")
        return {"network": LevelUNet(config.network)}

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network on the chain that it was trained on."""
        return self.along(self.config.betas)

    def along(self, betas: Betas) -> Denoiser:
        """The network on a chain of any variances."""
        return Denoiser(self.network, self.config.process(betas.signal()[1:]), self.config.predicts)


P = TypeVar("P", bound=Pictured)


Pairs = Callable[[Tensor, int], tuple[Tensor, ...]]
"""Rows and number of a batch -> what is seen of it and what is to be drawn, (B, C', H, W) and (B, C, H, W),
and where pixels of that are known a bool (B, 1, H, W)."""


def fit_pictured(
    fitted: P,
    pairs: Pairs,
    items: int,
    error: Error,
    config: TrainerConfig,
    run: Run,
    about: Mapping[str, Any],
) -> P:
    """Train on so many items as pairs; see `pictured_loss`."""
    loss = pictured_loss(fitted, pairs, error, run)
    trained = train(fitted.network, loss, items, config, run, about)
    return replace(fitted, network=trained)  # pyright: ignore[reportArgumentType]


def pictured_loss(
    fitted: Pictured, pairs: Pairs, error: Error, run: Run
) -> Callable[[nn.Module, Tensor, int], Tensor]:
    """The size of the error in the noise, at levels uniform between two timesteps, as `train` takes it.

    The timestep is uniform, and the level, sqrt(abar) to the power that is told, is uniform between that
    timestep's and the one before: the network sees all levels (Chen et al. 2021; Saharia et al. 2021).
    """
    own, table = replace(fitted.denoiser, error=error), fitted.config.betas.signal() ** fitted.config.power

    def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
        seen, x0, *known = (v.to(run.device) for v in pairs(rows, number))
        draws = torch.Generator().manual_seed(derive(run.seed, Purpose.PICTURED_LEVELS, number))
        t = uniform(len(rows), fitted.config.betas.T, draws)
        place = torch.rand(len(rows), generator=draws, dtype=torch.float64)
        levels = between(table, t, place) ** (1 / fitted.config.power)
        seeds = [derive(run.seed, Purpose.PICTURED_NOISE, number, k) for k in range(len(rows))]
        # The levels of this batch are a process of their own: level i + 1 is that of picture i.
        here = replace(own, network=network, process=fitted.config.process(levels))
        at = torch.arange(1, len(rows) + 1)
        return sized_error(here, x0, at, White().stream(seeds)(x0), seen, *known).mean()

    return loss


def sized_error(
    here: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, seen: Tensor, known: Tensor | None = None
) -> Tensor:
    """The size of the error in the noise, a mean over all pixels, (B,).

    Where pixels are known, the network sees them clean and its answer does not count: the larger the hole,
    the larger the loss (Saharia et al. 2022).
    """
    x = here.process.combine(x0, eps, t)
    x = x if known is None else x0.where(known, x)
    out = here.network(x, labels(here.process.label, t, x), features=seen)
    error = sized(out - here.target(x0, eps, t), here.error)
    return (error if known is None else error.masked_fill(known, 0)).flatten(1).mean(1)


def draw_pictured(
    fitted: Pictured,
    seen: Tensor,
    betas: Betas,
    steps: int,
    run: Run,
    draws: int = 1,
    controls: Callable[[Batch], Sequence[Control]] = lambda _: (),
    begin: Callable[[Batch], Tensor] | None = None,
) -> Tensor:
    """Draw (n * draws, C, H, W) in [-1, 1] while seeing `seen` (n, C', H, W), along `steps` of a chain.

    controls: further controls of a batch, after the clipping. begin: the first state of a batch, by default
    pure noise. Draw i of picture j depends on (run.seed, run.first + j, i) alone.
    """
    denoiser = fitted.along(betas)

    def start(batch: Batch) -> Start:
        like = batch.empty(*fitted.config.shape)
        x = denoiser.process.start(like, batch.noise) if begin is None else begin(batch)
        return Start(x, [Clip(), *controls(batch)], {"features": batch.take(seen)})

    return sample(
        denoiser, timesteps_of(denoiser.process, steps, "even"), len(seen), start, run,
        draws=draws, key=lambda i, draw: (Purpose.PICTURED_SAMPLES, run.first + i, draw), label="pictures",
    )  # fmt: skip
