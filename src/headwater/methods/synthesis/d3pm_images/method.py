"""D3PM on pictures: draw, complete and measure quantised pictures by undoing random changes of values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.discrete import Mixture
from headwater.discrete.denoiser import bits, bound
from headwater.errors import need
from headwater.methods.base import Images, Mask, Method, Paper, Scores
from headwater.methods.synthesis.d3pm_images.fitted import (
    Chain,
    D3PMImagesConfig,
    FittedD3PMImages,
    Head,
    pictures,
    quantised,
)
from headwater.metrics.statistics import bootstrap_interval
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.noise import derive
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of
from headwater.training import TrainerConfig
from headwater.training.discrete import fit_discrete

_WEIGHTS, _FLIPS, _DRAW, _MEASURE = 0x4433_4931, 0x4433_4932, 0x4433_4933, 0x4433_4934
"""Purposes of seeds: first weights, flips, drawing, the bound."""


@dataclass(frozen=True)
class Drawn:
    """What `D3PMImages.apply` returns."""

    completed: Images
    """The pictures in their K values, what is not known drawn."""
    bits: Scores
    """Bits per channel of each pixel, an upper bound."""


@dataclass(frozen=True)
class D3PMImages(Method):
    """`D3PM` with K grey values for characters (Austin et al. 2021, sec. 6): the same walk, the same bound.

        q(x_t | x_0) = Cat(x_0 Q_1 .. Q_t)                                  each channel of each pixel alone
        gaussian:  Q_t[i, j] ~ exp(-4 |i - j|^2 / ((K - 1)^2 beta_t)), i != j                         (eq. 8)
        loss       = KL(q(x_s | x_t, x_0) || p(x_s | x_t)) - auxiliary ln p(x_0 | x_t),  s = t - 1    "hybrid"

    uniform: a value turns into any other. absorbing: into the middle grey, which is also an ordinary value.
    The head `logistic` predicts place and width of a logistic law on the values, `logits` one number per
    value plus 1 at the present one. Pictures are (B, C, H, W) in [-1, 1], rounded to the values.

    Deviates from the authors' code as `D3PM` does; and the Gaussian's width is the paper's, K - 1, which for
    few values is not that of the code.
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
    """Grey values."""
    chain: Chain = "gaussian"
    """What a value turns into: near ones, any other, or the middle grey."""
    T: int = 1000
    """Levels of the chain."""
    head: Head = "logistic"
    """How the network tells its guess of a value."""
    auxiliary: float = 0.001
    """Weight of the cross entropy in the hybrid loss; 0 leaves the bound alone."""
    mixture: Mixture = "paper"
    """How the step back averages over guesses; `exact` is Bayes' rule for a perfect network."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            128, (1, 2, 2, 2), 2, (2,), dropout=0.1, use_scale_shift_norm=False
        )
    )
    """The U-Net; attention at 2 is the paper's 16 x 16 of 32 x 32 pictures."""
    flips: bool = True
    """Mirror half of the pictures while training."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(1_500_000, 128, lr=2e-4, warmup=5000, grad_clip=1.0, ema=0.9999)
    )
    steps: int = 1000
    """Levels visited when a picture is drawn, at most T."""
    levels: int = 128
    """Steps at which the bound is evaluated, one drawn from each of so many even parts."""

    def fit(self, image: Images, **how: Unpack[RunOptions]) -> FittedD3PMImages:
        """Learn from pictures (B, C, H, W) in [-1, 1]. Raises UserError for sizes that cannot be."""
        run = Run(**how)
        need(len(image) > 0, "there are no pictures")
        C, H, W = (int(n) for n in image.shape[1:])
        out = C * (2 if self.head == "logistic" else self.K)
        network = UNetConfig(in_channels=C, out_channels=out, **asdict(self.network))
        chain = (self.K, self.T, self.chain, self.head, self.mixture)
        config = D3PMImagesConfig(network, (C, H, W), *chain)
        fitted = FittedD3PMImages.fresh(config, derive(run.seed, _WEIGHTS))
        x0 = quantised(image, self.K)

        def batch(rows: Tensor, number: int) -> Tensor:
            some = x0[rows]
            generator = torch.Generator().manual_seed(derive(run.seed, _FLIPS, number))
            mirrored = self.flips & (torch.rand(len(some), generator=generator) < 0.5)
            return torch.where(mirrored[:, None, None, None], some.flip(-1), some)

        denoiser = replace(fitted.denoiser, auxiliary=self.auxiliary)
        trained = fit_discrete(denoiser, batch, len(x0), self.training, run, self.learnt())
        return replace(fitted, network=trained)

    def apply(
        self,
        image: Images,
        fitted: FittedD3PMImages,
        known: Mask | None = None,
        **how: Unpack[RunOptions],
    ) -> Drawn:
        """Draw what is not known of each picture, and tell how many bits it then takes.

        Without `known` nothing is drawn; where nothing is known, a new picture is. Raises UserError for
        pictures or masks of another size.
        """
        run, K = Run(**how), fitted.process.K
        need(image.shape[1:] == fitted.shape, f"these pictures are not {fitted.shape}: resize them")
        need(self.levels >= 1, f"levels is {self.levels}: give 1 or more")
        x0 = quantised(image, K)
        if known is not None:
            need(known.shape[-2:] == fitted.shape[1:], f"masks are {tuple(known.shape[-2:])}: resize them")
            x0 = self._completed(x0.where(known, -1), fitted, run)
        plan, found = timesteps_of(fitted.process, self.steps, "even"), []
        batches = run.batches(len(x0), key=lambda i, _: (_MEASURE, run.first + i))
        with torch.inference_mode():
            for batch in run.track(batches, "bounds"):
                nats = bound(fitted.denoiser, batch.take(x0), plan, batch.noise, self.levels)
                found.append(bits(nats).float().cpu())
        return Drawn(pictures(x0, K), torch.cat(found))

    def write(self, n: int, fitted: FittedD3PMImages, **how: Unpack[RunOptions]) -> Images:
        """n new pictures (n, C, H, W) in [-1, 1]. Picture i depends on the seed and i alone."""
        blank = torch.full((n, *fitted.shape), -1)
        return pictures(self._completed(blank, fitted, Run(**how)), fitted.process.K)

    def _completed(self, given: Tensor, fitted: FittedD3PMImages, run: Run) -> Tensor:
        """Values (B, C, H, W), given ones kept, negative ones drawn."""
        q, clean = fitted.process, fitted.config.chain == "absorbing"

        def begin(batch: Batch) -> Start:
            some = batch.take(given)
            region = GivenRegion(some.clamp(min=0), some >= 0, q, None if clean else batch.noise)
            return Start(q.start(some, batch.noise), [region])

        drawn = sample(
            fitted.denoiser, timesteps_of(q, self.steps, "even"), len(given), begin, run,
            key=lambda i, _: (_DRAW, run.first + i), label="pictures",
        )  # fmt: skip
        return torch.where(given < 0, drawn, given)

    def evaluate(self, bits: Scores) -> dict[str, float]:
        """bits_per_dimension, with a 95 % bootstrap interval over pictures."""
        low, high = bootstrap_interval(bits.double().numpy(), seed=0)
        return {"bits_per_dimension": float(bits.double().mean()), "low": low, "high": high}
