"""DiffuSeq: rewrite a text by denoising the target half of a sequence whose source half stays clean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Unpack

from torch import Tensor

from headwater.controls import GivenRegion, Nearest
from headwater.core import Control
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Method, Paper, Texts
from headwater.methods.text.diffuseq.fitted import DiffuSeqConfig, FittedDiffuSeq
from headwater.methods.text.diffuseq.sequence_pairs import Pairs, pack, targets
from headwater.methods.text.diffuseq.training import learn
from headwater.metrics.text import consensus, corpus_bleu, distinct, mean_sentence_bleu, word_f1
from headwater.nets.text_denoiser import TextDenoiserConfig
from headwater.noise import Noise, Truncated, White, derive
from headwater.sampling import (
    Batch,
    Run,
    RunOptions,
    SamplerName,
    Start,
    sample_batches,
    sampler_of,
    timesteps_of,
)
from headwater.training import TrainerConfig

_WEIGHTS = 0x5345_5131
"""Purpose of the seed of the first weights."""


@dataclass(frozen=True)
class DiffuSeq(Method):
    """Source x and target y are one row of tokens w = [CLS] x [SEP] y [SEP] [PAD] ..; only y is noised.

        z_0 = table[w] + sigma_1 n                       (B, L, d), n ~ N(0, I)
        z_t = alpha_t z_0 + sigma_t eps  on y and padding, z_0 on x      "partial noising"
        loss = |z_0 - f(z_t, t)|^2 + |alpha_T z_0|^2 + CE(table z_0 + b, w),    table[w] for z_0 at t = 1

    Levels are drawn in proportion to the size of their loss. Sampling is ancestral with the large variance;
    each estimate of z_0 is rounded to word vectors, and the source put back clean after each step. Of
    `candidates` texts the one that agrees best with the others is the answer, without any reference.

    As in the code, and not in the paper's equation, the loss covers the whole row and the last term is
    taken of z_0. Deviates from the code: one [SEP] between the texts, not [SEP] [SEP] [CLS]; a source is
    cut to half the row; DDIM is the real one (`sampler`), the code's skips down the schedule but
    steps by one level only (tests/parity shows it); the average of weights forgets its start early.
    """

    paper: ClassVar[Paper] = Paper(
        title="DiffuSeq: Sequence to Sequence Text Generation with Diffusion Models",
        authors="Shansan Gong, Mukai Li, Jiangtao Feng, Zhiyong Wu, Lingpeng Kong",
        year=2023,
        venue="ICLR",
        arxiv="2210.08933",
        code="Shark-NLP/DiffuSeq",
        claim="Partial noising learns to rewrite text, and choosing among ten samples beats one sample.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pairs of source and target texts",)
    applied: ClassVar[tuple[str, ...]] = ("steps", "sampler", "rounding", "top_p", "candidates")

    T: int = 2000
    """Levels of the process."""
    schedule: str = "sqrt"
    """Of the noise, a name of `core.schedule.BETAS`."""
    length: int = 128
    """Tokens in a row: both texts and three marks."""
    tokenizer: str = "bert-base-uncased"
    """`bpe` or `word` trains one on the texts, any other word names a published one."""
    vocabulary: int = 30522
    """Entries of a trained tokenizer at most."""
    dim: int = 128
    """Width of word vectors."""
    hidden: int = 768
    """Width of the network."""
    layers: int = 12
    """Its transformer layers."""
    heads: int = 12
    """Attention heads."""
    feedforward: int = 3072
    """Width between the two maps of a layer."""
    dropout: float = 0.1
    """While training."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(50_000, 2048, lr=1e-4, decay="linear", ema=0.9999)
    )
    steps: int = 2000
    """Levels visited when a text is written, at most T."""
    sampler: SamplerName = "ancestral"
    """`ddim` needs fewer steps and draws no noise on the way."""
    rounding: Literal["nearest", "none"] = "nearest"
    """Whether each estimate of z_0 is rounded to the nearest word vectors before it is used."""
    top_p: float = 0.0
    """Bound on the size of the noise; 0 leaves it Gaussian."""
    candidates: int = 10
    """Texts written for each source, of which one is chosen."""

    def fit(self, source: Texts, target: Texts, **how: Unpack[RunOptions]) -> FittedDiffuSeq:
        """Learn to write target[i] for source[i]. Raises UserError where the texts cannot be paired."""
        run = Run(**how)
        need(len(target) > 0, "there are no target texts")
        tokenizer = Tokenizer.of(self.tokenizer, [*source, *target], self.vocabulary)
        pairs = pack(tokenizer, source, target, self.length)
        config = DiffuSeqConfig(self.sizes(tokenizer.size), tokenizer, self.T, self.schedule)
        fitted = FittedDiffuSeq.fresh(config, derive(run.seed, _WEIGHTS))
        return learn(fitted, pairs, self.training, run, self.learnt())

    def samples(
        self, source: Texts, fitted: FittedDiffuSeq, n: int, **how: Unpack[RunOptions]
    ) -> list[list[str]]:
        """n independent targets of each source. Sample k of source i depends on the seed, k and i alone."""
        pairs, texts = pack(fitted.config.tokenizer, source, None, fitted.length), list[str]()
        for found, x in self.denoised(pairs, fitted, n, Run(**how)):
            ids = fitted.codec.decode(x)
            texts += targets(fitted.config.tokenizer, Pairs(ids, found.target).to("cpu"))
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def denoised(
        self, pairs: Pairs, fitted: FittedDiffuSeq, n: int, run: Run, watching: Sequence[Control] = ()
    ) -> Iterator[tuple[Pairs, Tensor]]:
        """n samples of each row, batch by batch: the rows, and their z_0.

        watching: controls that see each estimate of z_0 before it is rounded.
        """
        rounded: list[Control] = [Nearest(fitted.codec)] if self.rounding == "nearest" else []

        def rows(batch: Batch) -> Pairs:
            return Pairs(batch.take(pairs.ids), batch.take(pairs.target))

        def begin(batch: Batch) -> Start:
            here = rows(batch)
            clean = fitted.codec.encode(here.ids)
            source = GivenRegion(clean, ~here.target[..., None], place="both")
            return Start(batch.noise(clean, fitted.process.T), [*watching, *rounded, source])

        for batch, x in sample_batches(
            fitted.denoiser, timesteps_of(fitted.process.T, self.steps), len(pairs.ids), begin, run,
            sampler=sampler_of(self.sampler, "large"), law=self.law, draws=n, label="texts",
        ):  # fmt: skip
            yield rows(batch), x

    @property
    def law(self) -> Noise:
        """Where the noise of a walk comes from."""
        return Truncated(self.top_p) if self.top_p else White()

    def apply(self, source: Texts, fitted: FittedDiffuSeq, **how: Unpack[RunOptions]) -> Texts:
        """A target for each source: the candidate that agrees best with the others."""
        need(self.candidates >= 1, "candidates is 1 or more")
        groups = self.samples(source, fitted, self.candidates, **how)
        return [texts[consensus(texts)] for texts in groups]

    def evaluate(self, target: Texts, truth: Texts) -> dict[str, float]:
        """bleu: mean of smoothed sentences, as the paper's tables. corpus_bleu: sacrebleu's. word_f1: bags of
        words. distinct_1: different words over words within a text. All in [0, 1]."""
        return {
            "bleu": mean_sentence_bleu(target, truth),
            "corpus_bleu": corpus_bleu(target, truth),
            "word_f1": word_f1(target, truth),
            "distinct_1": distinct(target),
        }

    def sizes(self, vocabulary: int) -> TextDenoiserConfig:
        """The network's sizes for a vocabulary of so many entries."""
        names = ("length", "dim", "hidden", "layers", "heads", "feedforward", "dropout")
        return TextDenoiserConfig(vocabulary, **{name: getattr(self, name) for name in names})
