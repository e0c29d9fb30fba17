"""CLIP-Diffusion-LM: caption a picture by denoising all of its words at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor

from headwater.codecs import Embedding
from headwater.core import Denoises, Prediction, Sampler
from headwater.core.sampler import State
from headwater.core.transition import Gaussian, NoiseSource, Transition
from headwater.data.pretrained import word_vectors
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper, References, Texts
from headwater.methods.text.clip_diffusion_lm.fitted import (
    CaptionerConfig,
    FittedCaptioner,
    Windows,
    encoded,
    neighbours,
)
from headwater.metrics.dual_encoder import DualEncoder, EncoderConfig, train_dual_encoder
from headwater.metrics.text import cider, corpus_bleu, exact_match, word_f1
from headwater.models.image_text import ImageTextEncoder, encoder_of
from headwater.nets.caption_denoiser import CaptionDenoiserConfig, Fusion
from headwater.nets.clip import Clip
from headwater.noise import Purpose, derive
from headwater.notes import note
from headwater.sampling import Batch, Run, RunOptions, Start, guided, sample_batches, sampler_of, timesteps_of
from headwater.training import TrainerConfig, step_noise, train
from headwater.training.timesteps import uniform


@dataclass(frozen=True)
class FixedPoint(Sampler):
    """x <- the estimate of x_0, whatever the timestep, without noise; for networks that ignore it alone."""

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        return Gaussian(pred.x0, 0.0), None


def rows_of(tokenizer: Tokenizer, captions: Sequence[str], length: int) -> Tensor:
    """Rows caption [SEP] [PAD] .., int64 (B, length); long captions are cut, which is noted."""
    rows = [[*ids, tokenizer.sep] for ids in tokenizer.read(captions, length - 1, "captions")]
    return torch.tensor([row + [tokenizer.pad] * (length - len(row)) for row in rows])


def captions_of(tokenizer: Tokenizer, ids: Tensor) -> list[str]:
    """Captions of rows (B, L): up to the first [SEP], repeated neighbours merged."""
    repeated = torch.cat([torch.zeros_like(ids[:, :1], dtype=torch.bool), ids[:, 1:] == ids[:, :-1]], 1)
    return tokenizer.decode(ids.masked_fill(repeated, tokenizer.pad), first=True)


def l1(found: Tensor, wanted: Tensor) -> Tensor:
    """|found - wanted| of (B, L, d), summed over positions, mean over rows and channels."""
    return (found - wanted).abs().sum(1).mean()


def l2(found: Tensor, wanted: Tensor) -> Tensor:
    """Euclidean length of found - wanted over positions and channels, mean over rows."""
    return (found - wanted).flatten(1).norm(dim=1).mean()


def losses(
    denoiser: Denoises,
    codec: Embedding,
    ids: Tensor,
    t: Tensor,
    noise: NoiseSource,
    with_text: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor] = l1,
    interval: int | None = None,
    **features: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The terms of captions ids (B, L) at timesteps t (S,), every caption at every one of them; scalars.

    Distance to the clean vectors at t, and at timestep 1; -log p(words) at t, and at timestep 1, summed over
    positions, mean over rows.

    noise: asked once for the noise of x_t, shared by all timesteps as in the reference, and once for x_1's.
    with_text: whether text features are looked at, (S B,), all captions of the first timestep first; at
    timestep 1 they never are.
    interval: the answer is x so many timesteps below t, not x_0: the paper's ablation.
    features: (B, ..) conditions of the network.
    """
    q, x0 = denoiser.process, codec.encode(ids)

    def each(x: Tensor) -> Tensor:
        return x.repeat(len(t), *[1] * (x.ndim - 1))

    every = t.repeat_interleave(len(ids))
    x, wanted = q.combine(each(x0), each(noise(x0, 0)), every), each(x0)
    if interval is not None:
        wanted = q.combine(wanted, each(noise(x0, 0)), (every - interval).clamp(min=0))
    far = denoiser(x, every, None, with_text=with_text, **{k: each(v) for k, v in features.items()}).x0
    one = torch.ones(len(ids), dtype=torch.int64)
    without = torch.zeros_like(with_text[: len(ids)])
    near = denoiser(q.combine(x0, noise(x0, 1), one), one, None, with_text=without, **features).x0
    far_words, near_words = (codec.nats(x, w).sum(1).mean() for x, w in ((far, each(ids)), (near, ids)))
    return distance(far, wanted), distance(near, x0), far_words, near_words


@dataclass(frozen=True)
class CLIPDiffusionLM(Method):
    """Noise the word vectors of a caption, and predict them from picture features at any timestep.

        x_0 = table[w]                              (B, length, dim), w = caption [SEP] [PAD] ..
        x_t = alpha_t x_0 + sigma_t eps             cosine schedule
        loss = |f(x_t) - x_0|_1 + |f(x_1) - x_0|_1 + rounding_weight (CE(f(x_t)) + CE(f(x_1)))

    f is DistilBERT's encoder; it sees the picture's vector, and at times a text's, as two more positions, and
    no time. Every caption is seen at `levels` timesteps in each step, with one noise. A caption is written
    by x <- f(x) from pure noise, `steps` times, or by ancestral steps; guidance answers
    f(x) + guidance_scale (f(x, text) - f(x)).

    Deviates from the reference code. No caption is at hand when one is written, so the text vector is that
    of the nearest caption: in training, the nearest with other words; the code trains with the caption's own
    and writes without. Guidance plays no part in training, which leaves the text out at random; the code's
    loss is of the guided answer. Padding is always looked at; the code hides it in training alone. Repeated
    neighbours are merged per caption, where the code merges a column only if every caption of the batch
    repeats. Features have the length sqrt(D), whatever encoder they are of; the code takes CLIP's as they
    come, and of length 1, as a dual encoder gives them, they are lost beside the positions. No [CLS], which
    inflates BLEU; BLEU is of the corpus, not a mean of batches. The learning rate falls to 0, the code's to
    half. The split is the user's: the code's is by row and has pictures on both sides.

    >>> import torch
    >>> import headwater as hw
    >>> from headwater.training import TrainerConfig
    >>> method = hw.CLIPDiffusionLM(size=8, features="trained", feature_steps=2, tokenizer="word",
    ...     words="random", length=4, dim=8, hidden=8, layers=1, heads=2, feedforward=8, levels=2,
    ...     training=TrainerConfig(2, 4))
    >>> image = torch.rand(6, 3, 8, 8) * 2 - 1
    >>> fitted = method.fit(image, ["red cat", "blue dog"] * 3, progress=False)
    >>> len(method.apply(image, fitted, progress=False))
    6
    """

    paper: ClassVar[Paper] = Paper(
        title="CLIP-Diffusion-LM: Apply Diffusion Model on Image Captioning",
        authors="Shitong Xu",
        year=2022,
        arxiv="2210.04559",
        code="xu-shitong/diffusion-image-captioning",
        claim="A few parallel passes write captions of pictures, better with guidance by text features "
        "than without, and better than retrieval.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures with captions",)
    applied: ClassVar[tuple[str, ...]] = ("steps", "sampler", "guidance_scale")

    size: int = 224
    """Side of the pictures in pixels."""
    features: str = "openai/clip-vit-base-patch32"
    """Encoder of pictures and texts by name or folder, a CLIP or one of ours, or `trained`: a small one that
    is trained on the pictures first."""
    grid: int = 1
    """Number of windows a side, each as large as the encoder's pictures, through which it sees a picture: for
    pictures of several things, by an encoder of single ones. 1 encodes the picture whole."""
    feature_steps: int = 600
    """Number of updates of the dual encoder's training."""
    folds: int = 1
    """Number of parts of the captions: the pictures of each are seen in training by an encoder that learnt
    from the others alone, as new pictures will be; 1 takes the encoder that learnt from all."""
    tokenizer: str = "distilbert-base-uncased"
    """Tokenizer: `bpe` or `word` trains one on the captions, any other word names a published one."""
    vocabulary: int = 30522
    """Largest number of entries of a tokenizer that is trained."""
    words: Literal["published", "random", "trained"] = "published"
    """Word vectors: those of the model that `tokenizer` names, frozen; frozen random ones; or trained."""
    length: int = 16
    """Number of tokens of a caption at most."""
    dim: int = 768
    """Width of the word vectors."""
    hidden: int = 768
    """Width of the network, a multiple of heads."""
    layers: int = 6
    """Number of transformer layers."""
    heads: int = 12
    """Number of attention heads per layer."""
    feedforward: int = 3072
    """Width between the two linear maps of a layer's feed-forward part."""
    dropout: float = 0.1
    """Dropout rate in training, from 0 to below 1."""
    fusion: Fusion = "concat"
    """How features enter the network: as further positions, or added to every one."""
    T: int = 1000
    """Number of timesteps of the process."""
    levels: int = 100
    """Number of timesteps at which every caption of a batch is seen in training."""
    rounding_weight: float = 0.3
    """Weight of the cross entropies beside the distances in the loss."""
    withheld: float = 0.2
    """Share of training in which the text vector is left out, from 0 to 1."""
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(75_000, 8, lr=1e-4, decay="linear"))
    """Settings of the trainer; the paper's are 15 passes over Flickr8k."""
    steps: int = 5
    """Number of network calls per caption; with guidance each counts twice."""
    sampler: Literal["fixed-point", "ancestral"] = "fixed-point"
    """Sampler: the paper's repeated passes, or ancestral steps down the process."""
    guidance_scale: float = 1.0
    """Scale of the guidance by the text vector, the paper's g plus 1: 1 writes from the picture alone."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the pictures."""
        return 3, self.size, self.size

    def fit(
        self,
        image: Images,
        caption: Texts,
        encoder: ImageTextEncoder | None = None,
        **how: Unpack[RunOptions],
    ) -> FittedCaptioner:
        """Train on pictures (N, 3, size, size) and their captions. Raises UserError where they do not fit.

        encoder: one that is at hand, in place of the one that `features` names; the captioner keeps it.
        """
        run = Run(**how)
        need(len(image) == len(caption) > 1, f"{len(image)} pictures, {len(caption)} captions: give one each")
        self._check(image, self.shape)
        tokenizer, own = Tokenizer.of(self.tokenizer, caption, self.vocabulary), None
        if encoder is None and self.features == "trained":
            need(self.grid == 1, "an encoder that is trained here sees pictures whole: leave grid 1")
            need(self.size % 8 == 0, f"a dual encoder takes sides that are multiples of 8, not {self.size}")
            seed = derive(run.seed, Purpose.CAPTIONER_ENCODERS)
            found = own = train_dual_encoder(image.to(run.device), caption, seed, self.feature_steps)
        else:
            found = encoder or encoder_of(self.features, run.device)
            if isinstance(found, ImageTextEncoder | Clip):
                found.note_lost(caption)
            if isinstance(found, ImageTextEncoder):
                own = found.network
            fits = found.side == self.size or (found.side < self.size if self.grid > 1 else own is None)
            need(fits, f"{self.grid} windows of {found.side} pixels a side do not fit size {self.size}")
        encoders = Windows(found, self.grid)
        pictures, texts = encoded(encoders.image, image), encoded(encoders.text, caption)
        if own and self.folds > 1:
            pictures = self._unseen(image, caption, own, run)
        number = {text: i for i, text in enumerate(caption)}
        others = texts[neighbours(pictures, texts, torch.tensor([number[text] for text in caption]))]
        ids = rows_of(tokenizer, caption, self.length)

        clip, eyes = ("", EncoderConfig.of(own)) if own else (self.features, None)
        sizes = self.sizes(tokenizer.size, pictures.shape[1])
        config = CaptionerConfig(sizes, tokenizer, self.shape, len(texts), self.T, clip, eyes, self.grid)
        fitted = FittedCaptioner.fresh(config, derive(run.seed, Purpose.CAPTIONER_WEIGHTS))
        fitted = replace(fitted, captions=texts, encoder=own)
        if self.words == "published":
            fitted.network.table.data = word_vectors(self.tokenizer, tokenizer.size, self.dim)
            fitted.network.head.data = fitted.network.table.data.clone()

        def loss(network: Any, rows: Tensor, step: int) -> Tensor:
            denoiser, t = replace(fitted.denoiser, network=network), uniform(self.levels, fitted.process.T)
            with_text = (torch.rand(self.levels * len(rows)) > self.withheld).long().to(run.device)
            some, picture, text = (v[rows].to(run.device) for v in (ids, pictures, others))
            far, near, far_words, near_words = losses(
                denoiser, network.codec, some, t, step_noise, with_text, image=picture, text=text
            )
            return far + near + self.rounding_weight * (far_words + near_words)

        trained: Any = train(fitted.network, loss, len(ids), self.training, run, self.learnt())
        return replace(fitted, network=trained)

    def apply(self, image: Images, fitted: FittedCaptioner, **how: Unpack[RunOptions]) -> Texts:
        """A caption of each picture (B, 3, size, size). Picture i's depends on the seed and i alone."""
        run = Run(**how)
        self._check(image, fitted.shape)
        need(self.guidance_scale >= 1, f"guidance_scale is {self.guidance_scale}: give 1 or more")
        config, guides, texts = fitted.network.config, int(self.guidance_scale > 1), list[str]()

        def begin(batch: Batch) -> Start:
            picture = encoded(fitted.encoders.image, batch.take(image)).to(run.device)
            text = fitted.captions[neighbours(picture.cpu(), fitted.captions.cpu())].to(run.device)
            with_text = torch.full((len(picture),), guides, device=run.device)
            x = batch.noise(batch.empty(config.length, config.dim))
            return Start(x, conditions={"image": picture, "text": text, "with_text": with_text})

        done = sample_batches(
            guided(fitted.denoiser, self.guidance_scale, {"with_text": torch.zeros(1, dtype=torch.int64)}),
            timesteps_of(fitted.process, self.steps), len(image), begin, run,
            sampler=FixedPoint() if self.sampler == "fixed-point" else sampler_of(self.sampler),
            label="captions",
        )  # fmt: skip
        for _, x in done:
            texts += captions_of(fitted.config.tokenizer, fitted.network.codec.decode(x).cpu())
        return texts

    def evaluate(self, caption: Texts, truth: References) -> dict[str, float]:
        """word_f1: bags of words. corpus_bleu: sacrebleu's, of runs of up to 4 words, and bleu1, bleu2: of up
        to 1 and 2, for captions that are no longer. exact: share of equal captions. All in [0, 1]; cider:
        likeness of runs, rare ones weighing more, 0 to 10."""
        return {
            "word_f1": word_f1(caption, truth),
            "corpus_bleu": corpus_bleu(caption, truth),
            "bleu1": corpus_bleu(caption, truth, 1),
            "bleu2": corpus_bleu(caption, truth, 2),
            "cider": cider(caption, truth),
            "exact": exact_match(caption, truth),
        }

    def _unseen(self, image: Tensor, caption: Sequence[str], encoder: DualEncoder, run: Run) -> Tensor:
        """Features (N, D) of pictures, each by an encoder that saw no picture of its caption, in the space of
        the one that saw all; how often each finds the caption is noted."""
        place = {text: i for i, text in enumerate(dict.fromkeys(caption))}
        need(len(place) > self.folds, f"{len(place)} captions make no {self.folds} folds: give fewer folds")
        fold = torch.tensor([place[text] % self.folds for text in caption])
        found = encoded(encoder.image, image)
        texts, seen = encoded(encoder.text, caption), found.clone()
        for i in range(self.folds):
            seed = derive(run.seed, Purpose.CAPTIONER_ENCODERS, 1 + i)
            others = [text for text, at in zip(caption, fold.tolist(), strict=True) if at != i]
            learnt = image[fold != i].to(run.device)
            eyes = train_dual_encoder(learnt, others, seed, self.feature_steps, text_tower=encoder)
            found[fold == i] = encoded(eyes.image, image[fold == i])
        first, usual = (
            sum(caption[j] == caption[i] for i, j in enumerate(neighbours(v, texts).tolist())) / len(caption)
            for v in (found, seen)
        )
        note(
            f"of {len(place)} captions a picture's own is nearest for {first:.0%} of pictures that the "
            f"encoder did not learn from, and for {usual:.0%} of those that it did"
        )
        return found

    def sizes(self, vocabulary: int, features: int) -> CaptionDenoiserConfig:
        """The sizes of the network for a vocabulary of so many entries and features so wide."""
        names = ("length", "dim", "hidden", "layers", "heads", "feedforward", "dropout", "fusion")
        return CaptionDenoiserConfig(
            vocabulary=vocabulary,
            features=features,
            positions=self.length + 2,
            words="trained" if self.words == "trained" else "frozen",
            **{name: getattr(self, name) for name in names},
        )

    def _check(self, image: Tensor, shape: tuple[int, int, int]) -> None:
        need(image.shape[1:] == shape, f"pictures are {tuple(image.shape[1:])}, not {shape}: resize them")
