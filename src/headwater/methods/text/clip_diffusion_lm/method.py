"""CLIP-Diffusion-LM: caption a picture by denoising all of its words at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Unpack

import torch

from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper, Texts
from headwater.methods.text.clip_diffusion_lm.caption_rows import read, written
from headwater.methods.text.clip_diffusion_lm.fitted import CaptionerConfig, EncoderConfig, FittedCaptioner
from headwater.methods.text.clip_diffusion_lm.fixed_point import FixedPoint
from headwater.methods.text.clip_diffusion_lm.picture_features import encoded, neighbours, opened
from headwater.methods.text.clip_diffusion_lm.training import Captioned, learn
from headwater.methods.text.clip_diffusion_lm.word_vectors import published_vectors
from headwater.metrics.dual_encoder import DualEncoder
from headwater.metrics.text import corpus_bleu, exact_match, word_f1
from headwater.nets.caption_denoiser import CaptionDenoiserConfig, Fusion
from headwater.noise import derive
from headwater.sampling import Batch, Run, RunOptions, Start, guided, sample_batches, sampler_of, timesteps_of
from headwater.training import TrainerConfig

_WEIGHTS, _EYES = 0x4350_0001, 0x4350_0002
"""Purposes of the seeds of first weights and of the dual encoder."""


@dataclass(frozen=True)
class CLIPDiffusionLM(Method):
    """Noise the word vectors of a caption, and learn to tell them from picture features at any level.

        x_0 = table[w]                              (B, length, dim), w = caption [SEP] [PAD] ..
        x_t = alpha_t x_0 + sigma_t eps
        loss = |f(x_t) - x_0|_1 + |f(x_1) - x_0|_1 + rounding_weight (CE(f(x_t)) + CE(f(x_1)))

    f sees the picture's vector, and at times a text's, as two more positions, and no time. Every caption is
    seen at `levels` levels in each step, with one noise. A caption is written by x <- f(x) from pure noise,
    `steps` times, or by ancestral steps; guidance answers f(x) + guidance_scale (f(x, text) - f(x)).

    Deviates from the reference code. No caption is at hand when one is written, so the text vector is that
    of the nearest caption: in training, the nearest with other words; the code trains with the caption's own
    and writes without. Guidance plays no part in training, which leaves the text out at random. Padding is
    always looked at; the code hides it in training alone. Repeated neighbours are merged per caption, not
    per batch. Features have the length sqrt(D), whatever encoder they are of. No [CLS]. The split is the
    user's: the code's has pictures on both sides.
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
    """A CLIP by name or folder, or `trained`: a small dual encoder trained on the pictures first."""
    feature_steps: int = 600
    """Steps of that training."""
    tokenizer: str = "distilbert-base-uncased"
    """`bpe` or `word` trains one on the captions, any other word names a published one."""
    vocabulary: int = 30522
    """Entries of a trained tokenizer at most."""
    words: Literal["published", "random", "trained"] = "published"
    """Word vectors: those of the model that `tokenizer` names, frozen; frozen random ones; or trained."""
    length: int = 16
    """Tokens of a caption."""
    dim: int = 768
    """Width of word vectors."""
    hidden: int = 768
    """Width of the network."""
    layers: int = 6
    """Its transformer layers."""
    heads: int = 12
    """Attention heads."""
    feedforward: int = 3072
    """Width between the two maps of a layer."""
    dropout: float = 0.1
    """While training."""
    fusion: Fusion = "concat"
    """How features come in: as further positions, or added to every one."""
    T: int = 1000
    """Levels of the process."""
    levels: int = 100
    """Levels at which every caption of a batch is seen."""
    rounding_weight: float = 0.3
    """Weight of the cross entropies beside the distances."""
    withheld: float = 0.2
    """Share of training in which the text vector is left out."""
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(75_000, 8, lr=1e-4, decay="linear"))
    """15 passes over Flickr8k; the code's rate falls to half, not to 0."""
    steps: int = 5
    """Network calls per caption; with guidance each counts twice."""
    sampler: Literal["fixed-point", "ancestral"] = "fixed-point"
    """The paper's repeated passes, or a proper walk down the levels."""
    guidance_scale: float = 1.0
    """Scale of the guidance by the text vector, the paper's g plus 1: 1 writes from the picture alone."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the pictures."""
        return 3, self.size, self.size

    def fit(self, image: Images, caption: Texts, **how: Unpack[RunOptions]) -> FittedCaptioner:
        """Learn captions (N) of pictures (N, 3, size, size). Raises UserError where they cannot be paired."""
        run = Run(**how)
        need(len(image) == len(caption) > 1, f"{len(image)} pictures, {len(caption)} captions: give one each")
        need(
            image.shape[1:] == self.shape, f"pictures are {tuple(image.shape[1:])}, not {self.shape}: resize"
        )
        tokenizer = Tokenizer.of(self.tokenizer, caption, self.vocabulary)
        eyes = opened(self.features, image, caption, derive(run.seed, _EYES), self.feature_steps, run.device)
        seen, said = encoded(eyes.image, image), encoded(eyes.text, caption)
        number = {text: i for i, text in enumerate(caption)}
        near = neighbours(seen, said, torch.tensor([number[text] for text in caption]))
        encoder = eyes if isinstance(eyes, DualEncoder) else None
        config = CaptionerConfig(
            self.sizes(tokenizer.size, seen.shape[1]),
            tokenizer,
            self.shape,
            len(said),
            self.T,
            "" if encoder else self.features,
            encoder and EncoderConfig.of(encoder),
        )
        fitted = FittedCaptioner.fresh(config, derive(run.seed, _WEIGHTS))
        fitted, network = replace(fitted, captions=said, encoder=encoder), fitted.network
        if self.words == "published":
            network.table.data = published_vectors(self.tokenizer, tokenizer.size, self.dim)
            network.head.data = network.table.data.clone()

        rows = Captioned(written(tokenizer, caption, self.length), seen, said[near])
        return learn(
            fitted, rows, self.levels, self.withheld, self.rounding_weight, self.training, run, self.learnt()
        )

    def apply(self, image: Images, fitted: FittedCaptioner, **how: Unpack[RunOptions]) -> Texts:
        """A caption of each picture (B, 3, size, size). Picture i's depends on the seed and i alone."""
        run = Run(**how)
        need(
            image.shape[1:] == fitted.shape,
            f"pictures are {tuple(image.shape[1:])}, not {fitted.shape}: resize",
        )
        need(self.guidance_scale >= 1, f"guidance_scale is {self.guidance_scale}: give 1 or more")
        config, pushed, texts = fitted.network.config, self.guidance_scale > 1, list[str]()

        def begin(batch: Batch) -> Start:
            seen = encoded(fitted.eyes.image, batch.take(image)).to(run.device)
            near = fitted.captions[neighbours(seen.cpu(), fitted.captions.cpu())].to(run.device)
            told = torch.full((len(seen),), int(pushed), device=run.device)
            x = batch.noise(batch.empty(config.length, config.dim))
            return Start(x, conditions={"image": seen, "text": near, "told": told})

        done = sample_batches(
            guided(fitted.denoiser, self.guidance_scale, {"told": torch.zeros(1, dtype=torch.int64)}),
            timesteps_of(fitted.process, self.steps), len(image), begin, run,
            sampler=FixedPoint() if self.sampler == "fixed-point" else sampler_of(self.sampler),
            label="captions",
        )  # fmt: skip
        for _, x in done:
            texts += read(fitted.config.tokenizer, fitted.network.codec.decode(x).cpu())
        return texts

    def evaluate(self, caption: Texts, truth: Texts) -> dict[str, float]:
        """word_f1: bags of words. corpus_bleu: sacrebleu's. exact: share of equal captions. All in [0, 1]."""
        return {
            "word_f1": word_f1(caption, truth),
            "corpus_bleu": corpus_bleu(caption, truth),
            "exact": exact_match(caption, truth),
        }

    def sizes(self, vocabulary: int, features: int) -> CaptionDenoiserConfig:
        """The network's sizes for a vocabulary and features so wide."""
        names = ("length", "dim", "hidden", "layers", "heads", "feedforward", "dropout", "fusion")
        return CaptionDenoiserConfig(
            vocabulary=vocabulary,
            features=features,
            positions=self.length + 2,
            words="trained" if self.words == "trained" else "frozen",
            **{name: getattr(self, name) for name in names},
        )
