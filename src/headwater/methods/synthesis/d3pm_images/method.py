"""D3PM on images: draw, complete and measure quantised images by undoing random changes of values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.core.schedule import betas, reciprocal
from headwater.discrete import Discrete, DiscreteDenoiser, Mixture, absorbing, uniform
from headwater.discrete.denoiser import bits, bound
from headwater.discrete.information import stepwise
from headwater.discrete.process import discretised_gaussian
from headwater.errors import need
from headwater.methods.base import Images, Mask, Method, Paper, Scores, check_mask
from headwater.metrics.statistics import student_interval
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.categorical_unet import PixelLogistic, PixelLogits, centred, quantised
from headwater.noise import Purpose, derive
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of
from headwater.training import TrainerConfig
from headwater.training.discrete import fit_discrete

Chain = Literal["gaussian", "uniform", "absorbing"]
Head = Literal["logistic", "logits"]
Schedule = Literal["information", "paper"]


@dataclass(frozen=True)
class Drawn:
    """What `D3PMImages.apply` returns."""

    completed: Images
    """The images in their K values, with what is not known drawn."""
    bits: Scores
    """Bits per channel of each pixel, an upper bound."""


@dataclass(frozen=True)
class D3PMImages(Method):
    """Undo random changes of K grey values (Austin et al. 2021, sec. 6): `D3PM` with values for characters.

        q(x_t | x_0) = Cat(x_0 Q_1 .. Q_t)                                  each channel of each pixel alone
        gaussian:  Q_t[i, j] ~ exp(-4 |i - j|^2 / ((K - 1)^2 beta_t)), i != j                         (eq. 8)
        loss       = KL(q(x_s | x_t, x_0) || p(x_s | x_t)) - auxiliary ln p(x_0 | x_t),  s = t - 1    "hybrid"
        -ln p(x_0) <= KL(q(x_T | x_0) || p(x_T)) + sum over the steps of the KL above                the bound

    uniform: a value turns into any other. absorbing: into the middle grey, which is also an ordinary value.
    With the schedule `information` a share t / T of what the training images tell of a value is gone at
    timestep t, as the paper's text has it for its texts (A.7); its rates for images suit 256 values. At 17
    values and 64 timesteps these forget nothing at t = 1 and 81 % by t = 16.
    The head `logistic` predicts location and width of a logistic distribution on the values, `logits` one
    number per value plus 1 at the present one. Images are (B, C, H, W) in [-1, 1], rounded to the values.

    Deviations from the authors' code are those of `D3PM`; and the Gaussian's width is the paper's, K - 1,
    where the code's is (K - 1)^2 / 255, which at few values hardly moves (`discretised_gaussian(width=...)`
    gives either). Known pixels of a hole are put in again, freshly changed to the timestep, before every
    network call, as RePaint does; the authors' code completes nothing.

    >>> import headwater as hw
    >>> from headwater.nets.adm_blocks import UNetArchitecture
    >>> from headwater.training import TrainerConfig
    >>> digits, sizes = hw.load("tiny").images[:16], UNetArchitecture(32, (1,), 1, ())
    >>> method = hw.D3PMImages(K=17, T=4, steps=4, network=sizes, training=TrainerConfig(1, 8, lr=1e-3))
    >>> fitted = method.fit(digits, seed=0, progress=False)
    >>> method.apply(digits[:2], fitted, seed=0, progress=False).bits.shape
    torch.Size([2])
    """

    paper: ClassVar[Paper] = Paper(
        title="Structured Denoising Diffusion Models in Discrete State-Spaces",
        authors="Jacob Austin, Daniel D. Johnson, Jonathan Ho, Daniel Tarlow, Rianne van den Berg",
        year=2021,
        venue="NeurIPS",
        arxiv="2107.03006",
        code="google-research/google-research",
        claim="On pictures, a discretised Gaussian chain needs fewer bits than uniform replacement, both "
        "trained with the hybrid loss.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures of one size",)
    applied: ClassVar[tuple[str, ...]] = ("steps", "levels")

    K: int = 256
    """Number of grey values of a channel, 2 or more."""
    chain: Chain = "gaussian"
    """Values that a value turns into: near ones, any other, or the middle grey."""
    schedule: Schedule = "paper"
    """Pace at which the chain forgets: the paper's rates, made for 256 values, or evenly by information."""
    T: int = 1000
    """Number of timesteps of the chain."""
    head: Head = "logistic"
    """Form of the network's prediction of a value: a logistic distribution or a logit for each value."""
    auxiliary: float = 0.001
    """Weight of the cross entropy in the hybrid loss; 0 leaves the bound alone."""
    mixture: Mixture = "paper"
    """Average of the reverse step over predictions; `exact` is Bayes' rule for a perfect network."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            128, (1, 2, 2, 2), 2, (2,), dropout=0.1, use_scale_shift_norm=False
        )
    )
    """Sizes of the U-Net; attention at 2 is the paper's 16 x 16 of 32 x 32 pictures."""
    flips: bool = True
    """Mirror half of the pictures while training."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(1_500_000, 128, lr=2e-4, warmup=5000, grad_clip=1.0, ema=0.9999)
    )
    """How the network is trained."""
    steps: int = 1000
    """Number of timesteps visited when a picture is drawn, at most T."""
    levels: int = 128
    """Number of timesteps at which the bound is evaluated, one drawn from each of so many even parts."""

    def fit(self, image: Images, **how: Unpack[RunOptions]) -> FittedD3PMImages:
        """Learn from images (B, C, H, W) in [-1, 1]. Raises UserError for none, or sizes that cannot be."""
        run = Run(**how)
        need(len(image) > 0, "there are no pictures: give one or more to learn from")
        C, H, W = (int(n) for n in image.shape[1:])
        out = C * (2 if self.head == "logistic" else self.K)
        network = UNetConfig(in_channels=C, out_channels=out, **asdict(self.network))
        need(self.K >= 2, f"a chain needs 2 values or more, not {self.K}: raise K")
        x0 = quantised(image, self.K)
        rates = even_rates(x0, self.K, self.T, self.chain) if self.schedule == "information" else ()
        chain = (self.K, self.T, self.chain, self.head, self.mixture, rates)
        config = D3PMImagesConfig(network, (C, H, W), *chain)
        fitted = FittedD3PMImages.fresh(config, derive(run.seed, Purpose.D3PM_IMAGES_WEIGHTS))

        def batch(rows: Tensor, number: int) -> Tensor:
            some = x0[rows]
            generator = torch.Generator().manual_seed(derive(run.seed, Purpose.D3PM_IMAGES_FLIPS, number))
            mirrored = self.flips & (torch.rand(len(some), generator=generator) < 0.5)
            return torch.where(mirrored[:, None, None, None], some.flip(-1), some)

        denoiser = replace(fitted.denoiser, auxiliary=self.auxiliary)
        trained = fit_discrete(denoiser, batch, len(x0), self.training, run, self.learnt())
        return replace(fitted, network=trained)

    def apply(
        self, image: Images, fitted: FittedD3PMImages, known: Mask | None = None, **how: Unpack[RunOptions]
    ) -> Drawn:
        """Draw what is not `known` (B or 1, 1, H, W) of each image, and bound the bits that it then takes.

        Without `known` nothing is drawn; where nothing is known, a new image is. Raises UserError for no
        images, or images or masks of another size.
        """
        run, K = Run(**how), fitted.process.K
        need(len(image) > 0, "there are no pictures: give one or more to measure or complete")
        fitted.check(image)
        need(self.levels >= 1, f"levels is {self.levels}: give 1 or more")
        x0 = quantised(image, K)
        if known is not None:
            check_mask(known, image)
            x0 = self._completed(x0.where(known, -1), fitted, run)
        timesteps, found = timesteps_of(fitted.process, self.steps, "even"), []
        batches = run.batches(len(x0), key=lambda i, _: (Purpose.D3PM_IMAGES_BOUND, run.first + i))
        with torch.inference_mode():
            for batch in run.track(batches, "bounds"):
                nats = bound(fitted.denoiser, batch.take(x0), timesteps, batch.noise, self.levels)
                found.append(bits(nats).float().cpu())
        return Drawn(centred(x0, K), torch.cat(found))

    def sample(self, n: int, fitted: FittedD3PMImages, **how: Unpack[RunOptions]) -> Images:
        """n new images (n, C, H, W) in [-1, 1]. Image i depends on the seed and i alone."""
        blank = torch.full((n, *fitted.shape), -1)
        return centred(self._completed(blank, fitted, Run(**how)), fitted.process.K)

    def _completed(self, given: Tensor, fitted: FittedD3PMImages, run: Run) -> Tensor:
        """Values (B, C, H, W), given ones kept, negative ones drawn."""
        q, clean = fitted.process, fitted.config.chain == "absorbing"

        def begin(batch: Batch) -> Start:
            some = batch.take(given)
            region = GivenRegion(some.clamp(min=0), some >= 0, q, None if clean else batch.noise)
            return Start(q.start(some, batch.noise), [region])

        drawn = sample(
            fitted.denoiser, timesteps_of(q, self.steps, "even"), len(given), begin, run,
            key=lambda i, _: (Purpose.D3PM_IMAGES_SAMPLE, run.first + i), label="pictures",
        )  # fmt: skip
        return torch.where(given < 0, drawn, given)

    def evaluate(self, bits: Scores) -> dict[str, float]:
        """bits_per_dimension: the mean; low, high: its 95 % interval, Student's, over images."""
        low, high = student_interval(bits.double().numpy()) if len(bits) > 1 else (math.nan, math.nan)
        return {"bits_per_dimension": float(bits.double().mean()), "low": low, "high": high}


@dataclass(frozen=True)
class D3PMImagesConfig:
    """Sizes, values and chain."""

    network: UNetConfig
    shape: tuple[int, int, int]
    """(C, H, W) of the images."""
    K: int
    T: int
    chain: Chain
    head: Head
    mixture: Mixture
    rates: tuple[float, ...] = ()
    """Rate of each step, where the chain forgets evenly; () for the paper's."""

    def __post_init__(self) -> None:
        need(2 <= self.K <= 100_000, f"a chain needs 2 values or more, not {self.K}: raise K")
        need(1 <= self.T <= MOST_STEPS, f"a chain has 1 to {MOST_STEPS} timesteps, not {self.T}: change T")
        need(len(self.rates) in (0, self.T), f"there are {len(self.rates)} rates: give none or {self.T}")
        need(all(rate > 0 for rate in self.rates), "a rate is above 0: correct rates")
        need(
            self.chain != "gaussian" or self.T * self.K**2 <= 2**28,
            "a Gaussian chain keeps T K x K matrices: choose fewer values or timesteps",
        )


@dataclass(frozen=True, eq=False)
class FittedD3PMImages(Pretrained):
    """What `D3PMImages.fit` returns."""

    network: PixelLogistic | PixelLogits
    config: D3PMImagesConfig

    kind = "d3pm-images"

    @classmethod
    def networks(cls, config: D3PMImagesConfig) -> Parts:
        head = {"logistic": PixelLogistic, "logits": PixelLogits}[config.head]
        return {"network": head(UNet(config.network), config.K)}

    @cached_property
    def process(self) -> Discrete:
        """The chain over K values of a channel."""
        c = self.config
        if c.rates:
            return chain_of(c.chain, c.K, torch.tensor(c.rates, dtype=torch.float64), c.mixture)
        if c.chain == "uniform":
            return uniform(c.K, betas("cosine_unsquared", c.T), c.mixture)
        if c.chain == "absorbing":
            return absorbing(c.K, reciprocal(c.T), c.K // 2, c.mixture)
        return discretised_gaussian(c.K, betas("linear", c.T).clamp(max=1), c.mixture)

    @cached_property
    def denoiser(self) -> DiscreteDenoiser:
        """The network, which answers logits of clean values."""
        return DiscreteDenoiser(self.network, self.process)


def chain_of(chain: Chain, K: int, rates: Tensor, mixture: Mixture = "paper") -> Discrete:
    """A chain by rates (T,) float64 above 0: betas of a Gaussian chain, and -ln(1 - beta) of the others."""
    if chain == "gaussian":
        return discretised_gaussian(K, rates, mixture)
    rates = -torch.expm1(-rates)
    return uniform(K, rates, mixture) if chain == "uniform" else absorbing(K, rates, K // 2, mixture)


def even_rates(x0: Tensor, K: int, T: int, chain: Chain) -> tuple[float, ...]:
    """Rates, as `chain_of` takes them, at which a chain forgets evenly what values x0 (B, C, H, W) tell."""
    shares = torch.bincount(x0.flatten(), minlength=K).double() / x0.numel()
    need(int((shares > 0).sum()) > 1, "the pictures have one value only: nothing can be forgotten")
    every = torch.eye(K, dtype=torch.float64)

    def step(rate: float) -> Tensor:
        return chain_of(chain, K, torch.tensor([rate], dtype=torch.float64)).forward(every, 0, 1)

    return tuple(stepwise(T, shares, step))
