"""D3PM: write and complete texts, character by character in any order, by undoing random edits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import ClassVar, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.core.schedule import betas, reciprocal
from headwater.data.characters import Characters
from headwater.discrete import Discrete, DiscreteDenoiser, Mixture, absorbing, information, uniform
from headwater.discrete.denoiser import bits as bits_of
from headwater.discrete.denoiser import bound
from headwater.discrete.matrix_powers import nearest_neighbour, neighbour_rate
from headwater.errors import need
from headwater.methods.base import Method, Paper, Scores, Texts
from headwater.metrics.statistics import student_interval
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.text_transformer import TextTransformer, TextTransformerConfig
from headwater.noise import Purpose, derive
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of
from headwater.sampling.run import Key
from headwater.training import TrainerConfig
from headwater.training.discrete import fit_discrete

Chain = Literal["absorbing", "uniform", "nearest"]
Schedule = Literal["cosine", "information"]


@dataclass(frozen=True)
class Written:
    """What `D3PM.apply` returns."""

    written: Texts
    """The texts, every hole filled."""
    bits: Scores
    """Bits per character of each text, an upper bound."""


@dataclass(frozen=True, eq=False)
class Piece:
    """At most a window of a text."""

    text: int
    """Index of the text."""
    start: int
    ids: Tensor
    """(L,) int64, -1 where a character is to be written."""


@dataclass(frozen=True)
class D3PM(Method):
    """A chain edits single characters until nothing is left of a text; a network that sees the edited text
    predicts the original, and the chain is reversed (Austin et al. 2021).

        q(x_t | x_0) = Cat(x_0 Q_1 .. Q_t)                       Q_t by `chain`, for each position alone
        p(x_s | x_t) ~ sum_x0 q(x_s, x_t | x_0) p(x_0 | x_t)     "paper"; "exact" has q(x_s | x_t, x_0)
        loss         = KL(q(x_s | x_t, x_0) || p(x_s | x_t)) - auxiliary ln p(x_0 | x_t),  s = t - 1
        -ln p(x_0)  <= KL(q(x_T | x_0) || p(x_T)) + sum over the visited timesteps of the KL above

    absorbing: characters turn into a mask behind the vocabulary, a share t / T of them. uniform: into any
    character. nearest: into characters that keep similar company. Uniform chains follow the unsquared
    cosine, or as nearest ones do the mutual-information schedule: the information about x_0 is lost evenly,
    which for absorbing chains is exactly t / T. Fewer `steps` skip timesteps, and have a bound of their own.
    Given characters are never touched by an absorbing chain; the other chains put them in again, freshly
    noised, before every network call.

    Deviates from the authors' code: the step into timestep 0 follows the same formula as all others (there
    it takes the network's prediction of x_0), so that bound and samples belong to one model; no constants
    are added inside logarithms, a prediction never falls below 1e-30; timesteps are spread evenly over a
    batch; the graph of neighbours is made once, from which characters follow which, not every 200 steps from
    the network's embedding (the code's graph also gives its last rows the neighbours of the rows before
    them, and its table of powers is NaN where the largest is a power of two); the mask is never predicted;
    positions enter as rotations.

    >>> import headwater as hw
    >>> from headwater.training import TrainerConfig
    >>> method = hw.D3PM(T=8, steps=8, length=16, width=16, layers=1, heads=2, training=TrainerConfig(5, 8))
    >>> fitted = method.fit(["to be or not to be"] * 9, progress=False)
    >>> method.apply(["to be or ___"], fitted, progress=False).written[0][:9]
    'to be or '
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
    """What characters turn into: a mask, any other character, or one that keeps similar company."""
    T: int = 1000
    """Number of timesteps of the chain."""
    schedule: Schedule = "cosine"
    """Noise schedule of the uniform chain; the other two lose information evenly always."""
    neighbours: int = 5
    """Number of characters that each turns into in the chain `nearest`."""
    auxiliary: float = 0.01
    """Weight of the cross entropy in the loss; the paper has 0 for the chains that do not absorb."""
    mixture: Mixture = "paper"
    """How a reverse step averages over predictions of x_0; `exact` is Bayes' rule for a perfect network."""
    length: int = 256
    """Number of characters in a window, the most that the network sees at once."""
    width: int = 768
    """Width of the transformer, a multiple of 2 * heads."""
    layers: int = 12
    """Number of transformer layers."""
    heads: int = 12
    """Number of attention heads per layer."""
    dropout: float = 0.0
    """Dropout rate in training, from 0 to below 1."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(1_000_000, 512, lr=2e-4, warmup=5000, grad_clip=0.25)
    )
    """Settings of the trainer; a batch is so many windows."""
    steps: int = 1000
    """Number of timesteps visited when a text is written, at most T."""
    levels: int = 128
    """Number of visited timesteps at which the bound is evaluated, one drawn from each of so many parts."""
    hole: str = "_"
    """The character that marks what is to be written."""

    def fit(self, text: Texts, **how: Unpack[RunOptions]) -> FittedD3PM:
        """Train on texts. Raises UserError for too little text or sizes that cannot be."""
        run = Run(**how)
        characters = Characters.of(text)
        stream = characters.stream(text)
        need(
            len(stream) > self.length,
            f"the texts have {len(stream)} characters, a window {self.length}: give more or lower length",
        )
        sizes = {k: getattr(self, k) for k in ("length", "width", "layers", "heads", "dropout")}
        chain = {k: getattr(self, k) for k in ("chain", "T", "schedule", "mixture", "neighbours")}
        pairs = tuple(map(tuple, pair_counts(stream, len(characters)).tolist()))
        K = len(characters) + (self.chain == "absorbing")
        config = D3PMConfig(TextTransformerConfig(K, **sizes), characters, pairs, **chain)
        fitted = FittedD3PM.fresh(config, derive(run.seed, Purpose.D3PM_WEIGHTS))
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
        """Fill every `hole` character, and bound the bits per character that each text then takes.

        Texts longer than a window are cut into pieces that do not see each other; shorter ones are written
        on to a window's end, and cut. Raises UserError for no texts, empty ones and unknown characters.
        """
        run = Run(**how)
        fitted = fitted.mixed(self.mixture)
        need(len(self.hole) == 1, f"hole is {self.hole!r}: give one character")
        need(self.levels >= 1, f"levels is {self.levels}: give 1 or more")
        need(len(text) > 0, "there are no texts to complete: give one or more")
        need(all(text), "a text is empty: write holes where something is to be written")
        characters, n = fitted.config.characters, fitted.length
        cut = [characters.encode(t, self.hole).split(n) for t in text]
        pieces = [Piece(i, j * n, ids) for i, some in enumerate(cut) for j, ids in enumerate(some)]
        pieces = self._filled(pieces, fitted, run)
        full = [torch.cat([p.ids for p in group]) for _, group in groupby(pieces, lambda p: p.text)]
        nats = torch.zeros(len(text), dtype=torch.float64)
        for piece, each in self._nats(pieces, fitted, run):
            nats[piece.text] += each * len(piece.ids) / len(full[piece.text])
        return Written([characters.decode(ids) for ids in full], bits_of(nats).float())

    def write(self, n: int, fitted: FittedD3PM, **how: Unpack[RunOptions]) -> list[str]:
        """n new windows. Window i depends on the seed and i alone."""
        blank = [Piece(i, 0, torch.full((fitted.length,), -1)) for i in range(n)]
        done = self._filled(blank, fitted.mixed(self.mixture), Run(**how))
        return [fitted.config.characters.decode(piece.ids) for piece in done]

    def evaluate(self, written: Texts, bits: Scores) -> dict[str, float]:
        """bits_per_character over all texts, with a 95 % interval, Student's, over texts."""
        size = torch.tensor([len(t) for t in written], dtype=torch.float64)
        each = bits.double() * size / size.mean()
        low, high = student_interval(each.numpy()) if len(each) > 1 else (math.nan, math.nan)
        return {"bits_per_character": float(each.mean()), "low": low, "high": high}

    def _filled(self, pieces: Sequence[Piece], fitted: FittedD3PM, run: Run) -> list[Piece]:
        """The pieces in their order, every hole written; those without one stay as they are."""
        q, timesteps = fitted.process, timesteps_of(fitted.process.T, self.steps, "even")
        found, holed = list(pieces), [i for i, piece in enumerate(pieces) if bool((piece.ids < 0).any())]
        if not holed:
            return found
        some = [pieces[i] for i in holed]
        given = torch.stack([F.pad(p.ids, (0, fitted.length - len(p.ids)), value=-1) for p in some])

        def begin(batch: Batch) -> Start:
            ids = batch.take(given)
            # Unmasked characters are never touched where the chain has a mask: there given ones enter clean.
            noise = batch.noise if fitted.mask is None else None
            return Start(q.start(ids, batch.noise), [GivenRegion(ids.clamp(min=0), ids >= 0, q, noise)])

        key = _key(some, run, Purpose.D3PM_WRITE)
        drawn = sample(fitted.denoiser, timesteps, len(some), begin, run, key=key, label="texts")
        for i, row in zip(holed, torch.where(given < 0, drawn, given), strict=True):
            found[i] = replace(pieces[i], ids=row[: len(pieces[i].ids)])
        return found

    def _nats(self, pieces: Sequence[Piece], fitted: FittedD3PM, run: Run) -> Iterator[tuple[Piece, float]]:
        """The bound of each piece in nats per character; pieces of one length share a batch."""
        timesteps = timesteps_of(fitted.process.T, self.steps, "even")
        for _, group in groupby(sorted(pieces, key=lambda p: len(p.ids)), lambda p: len(p.ids)):
            alike = list(group)
            x0 = torch.stack([piece.ids for piece in alike])
            for batch in run.batches(len(alike), key=_key(alike, run, Purpose.D3PM_BOUND)):
                with torch.inference_mode():
                    nats = bound(fitted.denoiser, batch.take(x0), timesteps, batch.noise, self.levels)
                yield from zip(alike[batch.rows], nats.tolist(), strict=True)


def _key(pieces: Sequence[Piece], run: Run, purpose: int) -> Key:
    return lambda i, _: (purpose, run.first + pieces[i].text, pieces[i].start)


@dataclass(frozen=True)
class D3PMConfig:
    """Sizes, vocabulary and chain of a `FittedD3PM`."""

    network: TextTransformerConfig
    characters: Characters
    pairs: tuple[tuple[int, ...], ...]
    """V x V: how often a character follows another in the training texts."""
    chain: Chain = "absorbing"
    T: int = 1000
    schedule: Schedule = "cosine"
    mixture: Mixture = "paper"
    neighbours: int = 5

    def __post_init__(self) -> None:
        V = len(self.characters)
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS} timesteps")
        need(self.neighbours >= 1, "neighbours is 1 or more")
        need(len(self.pairs) == V == len({*self.characters.symbols}), "each character counts once")
        need(all(len(row) == V for row in self.pairs), f"pairs has not {V} rows and columns")
        K = V + (self.chain == "absorbing")
        need(self.network.K == K, f"the network has {self.network.K} categories where {K} are needed")


@dataclass(frozen=True, eq=False)
class FittedD3PM(Pretrained):
    """What `D3PM.fit` returns."""

    network: TextTransformer
    config: D3PMConfig

    kind = "d3pm"

    @classmethod
    def networks(cls, config: D3PMConfig) -> Parts:
        return {"network": TextTransformer(config.network)}

    @cached_property
    def process(self) -> Discrete:
        """The chain over V characters, and a mask behind them if it absorbs."""
        c, V = self.config, len(self.config.characters)
        if c.chain == "absorbing":
            return absorbing(V + 1, reciprocal(c.T), mask=V, mixture=c.mixture)
        pairs = torch.tensor(c.pairs)
        shares = pairs.sum(1).double() / pairs.sum()
        if c.chain == "nearest":
            rate = neighbour_rate(contexts(pairs), min(c.neighbours, V - 1))
            exponents = information.exponents(c.T, shares, lambda a: torch.linalg.matrix_exp(a * rate))
            return nearest_neighbour(rate, exponents, c.mixture)
        if c.schedule == "cosine":
            return uniform(V, betas("cosine_unsquared", c.T), c.mixture)
        even, eye = torch.full((V, V), 1 / V, dtype=torch.float64), torch.eye(V, dtype=torch.float64)
        exponents = information.exponents(c.T, shares, lambda a: even + (-a).exp() * (eye - even))
        return uniform(V, information.betas(exponents), c.mixture)

    def mixed(self, mixture: Mixture) -> FittedD3PM:
        """The same with another mixture over clean characters."""
        return replace(self, config=replace(self.config, mixture=mixture))

    @property
    def mask(self) -> int | None:
        """The category that no text holds, if there is one."""
        return len(self.config.characters) if self.config.chain == "absorbing" else None

    @property
    def length(self) -> int:
        """Characters in a window."""
        return self.config.network.length

    @cached_property
    def denoiser(self) -> DiscreteDenoiser:
        """The network, which answers logits of clean characters."""
        return DiscreteDenoiser(self.network, self.process, never=self.mask)


def windows(stream: Tensor, length: int, batch: int, seed: int, step: int) -> Tensor:
    """Windows of optimiser step `step`, (batch, length), each equally likely to begin anywhere."""
    generator = torch.Generator().manual_seed(derive(seed, Purpose.D3PM_WINDOWS, step))
    first = torch.randint(len(stream) - length + 1, (batch,), generator=generator)
    return stream[first[:, None] + torch.arange(length)]


def pair_counts(stream: Tensor, size: int) -> Tensor:
    """How often character j follows i in a row of ids (N,): (size, size) int64."""
    return torch.bincount(stream[:-1] * size + stream[1:], minlength=size * size).reshape(size, size)


def contexts(pairs: Tensor) -> Tensor:
    """A vector for each character by the company it keeps, (V, 2 V): square roots of the shares of each
    character behind and before it."""
    counts = pairs.double()
    sides = [side / side.sum(1, keepdim=True).clamp(min=1) for side in (counts, counts.T)]
    return torch.cat(sides, 1).sqrt()
