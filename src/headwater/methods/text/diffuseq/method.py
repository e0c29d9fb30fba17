"""DiffuSeq: rewrite a text by denoising the target half of a sequence whose source half stays clean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Unpack

from torch import Tensor, nn

from headwater.codecs import Embedding
from headwater.controls import GivenRegion, Nearest
from headwater.core import Control, Denoiser
from headwater.core.transition import NoiseSource
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Method, Paper, References, Texts
from headwater.methods.text.diffuseq.fitted import DiffuSeqConfig, FittedDiffuSeq
from headwater.methods.text.diffuseq.rows import Pairs, pack, targets
from headwater.metrics.text import consensus, corpus_bleu, distinct, mean_sentence_bleu, word_f1
from headwater.nets.text_denoiser import TextDenoiserConfig
from headwater.noise import Purpose, Truncated, White, derive
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
from headwater.training import TrainerConfig, step_noise, train
from headwater.training.timesteps import LossSecondMoment


def losses(
    denoiser: Denoiser, codec: Embedding, pairs: Pairs, t: Tensor, noise: NoiseSource
) -> tuple[Tensor, Tensor, Tensor]:
    """The terms of the loss of rows at timesteps t (B,) int64, 1 .. T; each (B,), a mean over the row.

    |z_0 - f(z_t, t)|^2, with the words' own vectors for z_0 at t = 1; |alpha_T z_0|^2, which keeps the
    vectors from growing; -log p(w | z_0), which keeps them apart. `noise` is asked for that of z_0, then of
    z_t.
    """
    q, words = denoiser.process, codec.encode(pairs.ids)
    z = codec.encode(pairs.ids, noise)
    noised = q.combine(z, noise(z, t), t).where(pairs.target[..., None], z)
    aim = words.where((t == 1).to(z.device)[:, None, None], z)
    found = denoiser(noised, t).x0
    return (
        (aim - found).square().mean((1, 2)),
        (float(q.alpha[-1]) * z).square().mean((1, 2)),
        codec.nats(z, pairs.ids).mean(1),
    )


@dataclass(frozen=True)
class DiffuSeq(Method):
    """Source x and target y are one row of tokens w = [CLS] x [SEP] y [SEP] [PAD] ..; only y is noised.

        z_0 = table[w] + sigma_1 n                       (B, L, d), n ~ N(0, I)
        z_t = alpha_t z_0 + sigma_t eps  on y and padding, z_0 on x      "partial noising"
        loss = |z_0 - f(z_t, t)|^2 + |alpha_T z_0|^2 + CE(table z_0 + b, w),    table[w] for z_0 at t = 1

    The table is trained along with f, a BERT encoder. Timesteps are drawn in proportion to the size of their
    loss. Sampling is ancestral with the large variance; each estimate of z_0 is rounded to word vectors, and
    the source put back clean after each step. Of `candidates` texts the one that agrees best with the others
    (mean BLEU) is the answer: minimum Bayes risk, without any reference.

    As in the code, and not in the paper's equation, the loss covers the whole row, source and padding too,
    and the last term is taken of z_0, not of the network's answer; the source carries the small noise in
    training and none in use. Deviates from the code: one [SEP] between the texts, not [SEP] [SEP] [CLS]; a
    source is cut to half the row, in training as in use, where the code cuts the longer of the two texts;
    DDIM is the real one, the code's skips down the schedule but steps by one timestep only, and never visits
    the last ones (rebuilt in the parity test); the average of weights forgets its random start early.

    >>> import headwater as hw
    >>> from headwater.training import TrainerConfig
    >>> method = hw.DiffuSeq(T=8, steps=8, length=12, tokenizer="word", dim=8, hidden=16, layers=1, heads=2,
    ...     feedforward=16, candidates=2, training=TrainerConfig(3, 4))
    >>> source, target = ["thou art good", "he goeth home"] * 4, ["you are good", "he goes home"] * 4
    >>> fitted = method.fit(source, target, progress=False)
    >>> len(method.apply(["thou art home"], fitted, progress=False))
    1
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
    """Number of timesteps of the process."""
    schedule: str = "sqrt"
    """Noise schedule, a name of `headwater.core.schedule.BETAS`."""
    length: int = 128
    """Number of tokens in a row: both texts and three marks."""
    tokenizer: str = "bert-base-uncased"
    """Tokenizer: `bpe` or `word` trains one on the texts, any other word names a published one."""
    vocabulary: int = 30522
    """Largest number of entries of a tokenizer that is trained."""
    dim: int = 128
    """Width of the word vectors."""
    hidden: int = 768
    """Width of the network, a multiple of heads."""
    layers: int = 12
    """Number of transformer layers."""
    heads: int = 12
    """Number of attention heads per layer."""
    feedforward: int = 3072
    """Width between the two linear maps of a layer's feed-forward part."""
    dropout: float = 0.1
    """Dropout rate in training, from 0 to below 1."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(50_000, 2048, lr=1e-4, decay="linear", ema=0.9999)
    )
    """Settings of the trainer; a batch is so many pairs."""
    steps: int = 2000
    """Number of timesteps visited when a text is written, at most T."""
    sampler: SamplerName = "ancestral"
    """Sampler of the reverse process; `ddim` draws no noise on the way, and its best candidate is worse."""
    rounding: Literal["nearest", "none"] = "nearest"
    """Whether each estimate of z_0 is rounded to the nearest word vectors before it is used."""
    top_p: float = 0.0
    """Bound on the size of the sampling noise; 0 leaves it Gaussian."""
    candidates: int = 10
    """Number of texts written for each source, of which one is chosen."""

    def fit(self, source: Texts, target: Texts, **how: Unpack[RunOptions]) -> FittedDiffuSeq:
        """Train to write target[i] for source[i]. Raises UserError where the texts cannot be paired."""
        run = Run(**how)
        need(len(target) > 0, "there are no target texts: give one for each source")
        tokenizer = Tokenizer.of(self.tokenizer, [*source, *target], self.vocabulary)
        pairs = pack(tokenizer, source, target, self.length)
        config = DiffuSeqConfig(self.sizes(tokenizer.size), tokenizer, self.T, self.schedule)
        fitted = FittedDiffuSeq.fresh(config, derive(run.seed, Purpose.DIFFUSEQ_WEIGHTS))
        # The losses that timesteps had so far are kept with the checkpoints.
        both = nn.ModuleDict({"network": fitted.network, "timesteps": LossSecondMoment(self.T)})

        def loss(both: Any, rows: Tensor, number: int) -> Tensor:
            t, weights = both["timesteps"].draw(len(rows))
            denoiser = replace(fitted.denoiser, network=both["network"])
            codec = both["network"].codec(fitted.codec.std)
            each = sum(losses(denoiser, codec, pairs.rows(rows).to(run.device), t, step_noise))
            both["timesteps"].note(t, each)
            return (each * weights.to(each)).mean()

        trained: Any = train(both, loss, len(pairs.ids), self.training, run, self.learnt())
        return replace(fitted, network=trained["network"])

    def samples(
        self, source: Texts, fitted: FittedDiffuSeq, n: int, **how: Unpack[RunOptions]
    ) -> list[list[str]]:
        """n independent targets of each source. Sample k of source i depends on the seed, k and i alone."""
        pairs, texts = pack(fitted.config.tokenizer, source, None, fitted.length), list[str]()
        for found, x in self.denoised(pairs, fitted, n, Run(**how)):
            written = Pairs(fitted.codec.decode(x), found.target).to("cpu")
            texts += targets(fitted.config.tokenizer, written)
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def denoised(
        self, pairs: Pairs, fitted: FittedDiffuSeq, n: int, run: Run, controls: Sequence[Control] = ()
    ) -> Iterator[tuple[Pairs, Tensor]]:
        """n samples of each row, batch by batch: the rows, and their z_0.

        controls: further ones, which come before the rounding.
        """
        rounded: list[Control] = [Nearest(fitted.codec)] if self.rounding == "nearest" else []

        def rows(batch: Batch) -> Pairs:
            return Pairs(batch.take(pairs.ids), batch.take(pairs.target))

        def begin(batch: Batch) -> Start:
            some = rows(batch)
            clean = fitted.codec.encode(some.ids)
            source = GivenRegion(clean, ~some.target[..., None], place="both")
            return Start(batch.noise(clean, fitted.process.T), [*controls, *rounded, source])

        for batch, x in sample_batches(
            fitted.denoiser, timesteps_of(fitted.process.T, self.steps), len(pairs.ids), begin, run,
            sampler=sampler_of(self.sampler, "large"), draws=n, label="texts",
            law=Truncated(self.top_p) if self.top_p else White(),
        ):  # fmt: skip
            yield rows(batch), x

    def apply(self, source: Texts, fitted: FittedDiffuSeq, **how: Unpack[RunOptions]) -> Texts:
        """A target for each source: the candidate that agrees best with the others."""
        need(self.candidates >= 1, f"candidates is {self.candidates}: give 1 or more")
        groups = self.samples(source, fitted, self.candidates, **how)
        return [texts[consensus(texts)] for texts in groups]

    def evaluate(self, target: Texts, truth: References) -> dict[str, float]:
        """bleu: mean of smoothed sentences, as the paper's tables. corpus_bleu: sacrebleu's. word_f1: bags of
        words. distinct_1: different words over words within a text. All in [0, 1]."""
        return {
            "bleu": mean_sentence_bleu(target, truth),
            "corpus_bleu": corpus_bleu(target, truth),
            "word_f1": word_f1(target, truth),
            "distinct_1": distinct(target),
        }

    def sizes(self, vocabulary: int) -> TextDenoiserConfig:
        """The sizes of the network for a vocabulary of so many entries."""
        names = ("length", "dim", "hidden", "layers", "heads", "feedforward", "dropout")
        return TextDenoiserConfig(vocabulary, **{name: getattr(self, name) for name in names})
