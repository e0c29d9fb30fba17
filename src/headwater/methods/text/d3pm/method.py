"""D3PM: write and complete texts, character by character in any order, by undoing random edits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Unpack

import torch

from headwater.discrete import Mixture
from headwater.discrete.denoiser import bits as bits_of
from headwater.errors import need
from headwater.methods.base import Method, Paper, Scores, Texts
from headwater.methods.text.d3pm.characters import (
    Characters,
    Piece,
    joined,
    pair_counts,
    pieces,
    stream_of,
    windows,
)
from headwater.methods.text.d3pm.filling import filled, nats_of
from headwater.methods.text.d3pm.fitted import Chain, D3PMConfig, FittedD3PM, Schedule
from headwater.metrics.statistics import bootstrap_interval
from headwater.nets.text_transformer import TextTransformerConfig
from headwater.noise import derive
from headwater.sampling import Run, RunOptions, timesteps_of
from headwater.training import TrainerConfig
from headwater.training.discrete import fit_discrete

_WEIGHTS = 0x4433_5031
"""Purpose of the seed of the first weights."""


@dataclass(frozen=True)
class Written:
    """What `D3PM.apply` returns."""

    written: Texts
    """The texts, every hole filled."""
    bits: Scores
    """Bits per character of each, an upper bound."""


@dataclass(frozen=True)
class D3PM(Method):
    """A chain edits single characters until nothing is left of a text; a network that sees the edited text
    guesses the original, and the chain is walked back (Austin et al. 2021).

        q(x_t | x_0) = Cat(x_0 Q_1 .. Q_t)                       Q_t by `chain`, for each position alone
        p(x_s | x_t) ~ sum_x0 q(x_s, x_t | x_0) p(x_0 | x_t)     "paper"; "exact" has q(x_s | x_t, x_0)
        loss         = KL(q(x_s | x_t, x_0) || p(x_s | x_t)) - auxiliary ln p(x_0 | x_t),  s = t - 1
        -ln p(x_0)  <= KL(q(x_T | x_0) || p(x_T)) + sum over the plan's steps of the KL above

    absorbing: characters turn into a mask behind the vocabulary, a share t / T of them. uniform: into any
    character. nearest: into characters that keep similar company. Fewer `steps` skip levels, and have a
    bound of their own.

    Deviates from the authors' code: the step into level 0 follows the same formula as all others (there it
    takes the network's word for x_0), so that bound and samples belong to one model; no constants are added
    inside logarithms; levels are spread evenly over a batch; the graph of neighbours is made once, from
    which characters stand beside which, not again and again from the network's embedding; the mask is never
    predicted.
    """

    paper: ClassVar[Paper] = Paper(
        title="Structured Denoising Diffusion Models in Discrete State-Spaces",
        authors="Jacob Austin, Daniel D. Johnson, Jonathan Ho, Daniel Tarlow, Rianne van den Berg",
        year=2021,
        venue="NeurIPS",
        arxiv="2107.03006",
        code="google-research/google-research",
        claim="Which states turn into which matters: masking needs fewer bits per character than uniform "
        "replacement, and loses little with a quarter of the steps.",
    )
    needs: ClassVar[tuple[str, ...]] = ("texts, some 100,000 characters or more",)
    applied: ClassVar[tuple[str, ...]] = ("steps", "levels", "mixture", "hole")

    chain: Chain = "absorbing"
    """What characters turn into: a mask, any other, or those of similar company."""
    T: int = 1000
    """Levels of the chain."""
    schedule: Schedule = "cosine"
    """Of the uniform chain. The other two forget at an even pace always."""
    neighbours: int = 5
    """Of the chain `nearest`."""
    auxiliary: float = 0.01
    """Weight of the cross entropy; the paper has 0 for the chains that do not absorb."""
    mixture: Mixture = "paper"
    """How the step back averages over guesses; `exact` is Bayes' rule for a perfect network."""
    length: int = 256
    """Characters in a window."""
    width: int = 768
    """Of the transformer; a multiple of 2 * `heads`."""
    layers: int = 12
    """Its layers."""
    heads: int = 12
    """Attention heads."""
    dropout: float = 0.0
    """While training."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(1_000_000, 512, lr=2e-4, warmup=5000, grad_clip=0.25)
    )
    steps: int = 1000
    """Levels visited when a text is written, at most T."""
    levels: int = 128
    """Steps of the walk at which the bound is evaluated, one drawn from each of so many even parts."""
    hole: str = "_"
    """The character that marks what is to be written."""

    def fit(self, text: Texts, **how: Unpack[RunOptions]) -> FittedD3PM:
        """Learn to write like the texts. Raises UserError for too little text or sizes that cannot be."""
        run = Run(**how)
        characters = Characters.of(text)
        stream = stream_of(characters, text)
        need(
            len(stream) > self.length,
            f"the texts have {len(stream)} characters, a window {self.length}: give more or lower length",
        )
        sizes = {k: getattr(self, k) for k in ("length", "width", "layers", "heads", "dropout")}
        chain = {k: getattr(self, k) for k in ("chain", "T", "schedule", "mixture", "neighbours")}
        pairs = tuple(map(tuple, pair_counts(stream, len(characters)).tolist()))
        K = len(characters) + (self.chain == "absorbing")
        config = D3PMConfig(TextTransformerConfig(K, **sizes), characters, pairs, **chain)
        fitted = FittedD3PM.fresh(config, derive(run.seed, _WEIGHTS))
        trained = fit_discrete(
            replace(fitted.denoiser, auxiliary=self.auxiliary),
            lambda _, number: windows(stream, self.length, self.training.batch_size, run.seed, number),
            0,  # windows lie anywhere
            self.training,
            run,
            {**self.learnt(), "mixture": self.mixture},
        )
        return replace(fitted, network=trained)  # pyright: ignore[reportArgumentType]

    def apply(self, text: Texts, fitted: FittedD3PM, **how: Unpack[RunOptions]) -> Written:
        """Fill every `hole` character, and tell how many bits per character each text then takes.

        Texts longer than a window are worked in pieces that do not see each other; shorter ones are written
        on to a window's end, and cut. Raises UserError for unknown characters.
        """
        run = Run(**how)
        fitted = fitted.mixed(self.mixture)
        need(len(self.hole) == 1, f"hole is {self.hole!r}: give one character")
        need(self.levels >= 1, f"levels is {self.levels}: give 1 or more")
        need(all(text), "a text is empty: write holes where something is to be written")
        encoded = [fitted.config.characters.encode(t, self.hole) for t in text]
        plan = timesteps_of(fitted.process.T, self.steps, "even")
        parts = filled(pieces(encoded, fitted.length), fitted, plan, run)
        full = joined(parts, len(text))
        cost = torch.zeros(len(text), dtype=torch.float64)
        for part, nats in nats_of(parts, fitted, plan, self.levels, run):
            cost[part.text] += nats * len(part.ids) / len(full[part.text])
        return Written([fitted.config.characters.decode(ids) for ids in full], bits_of(cost).float())

    def write(self, n: int, fitted: FittedD3PM, **how: Unpack[RunOptions]) -> list[str]:
        """n new windows. Window i depends on the seed and i alone."""
        blank = [Piece(i, 0, torch.full((fitted.length,), -1)) for i in range(n)]
        plan = timesteps_of(fitted.process.T, self.steps, "even")
        done = filled(blank, fitted.mixed(self.mixture), plan, Run(**how))
        return [fitted.config.characters.decode(part.ids) for part in done]

    def evaluate(self, written: Texts, bits: Scores) -> dict[str, float]:
        """bits_per_character over all texts, with a 95 % bootstrap interval over texts."""
        size = torch.tensor([len(t) for t in written], dtype=torch.float64)
        each = bits.double() * size / size.mean()
        low, high = bootstrap_interval(each.numpy(), seed=0)
        return {"bits_per_character": float(each.mean()), "low": low, "high": high}
