"""GLIDE: draw images of what a caption says, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self, TypeVar, Unpack

import torch
from torch import Tensor, nn

from headwater.controls import Clip
from headwater.core import Control, Denoiser, Diffusion
from headwater.core.prediction import Target, Variance
from headwater.core.schedule import betas
from headwater.data.resize import area
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper, Texts
from headwater.metrics.dual_encoder import caption_scores
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.modes import in_evaluation
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.text2im import SuperResText2Im, Text2Im, Text2ImConfig, published
from headwater.nets.text_encoder import TextConfig
from headwater.noise import Purpose, derive
from headwater.sampling import (
    Batch,
    Run,
    RunOptions,
    SamplerName,
    Start,
    guided,
    sample,
    sampler_of,
    timesteps_of,
)
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import stratified

_SCHEDULES = {"squaredcos_cap_v2": "cosine"}
G = TypeVar("G", bound="FittedGlide")


@dataclass(frozen=True)
class Glide(Method):
    """Draw an image for a caption, which a transformer reads once and the U-Net at every resolution
    (Nichol et al. 2022, sec. 2 and 3).

        (u, c)  = transformer(caption)                       u (B, E) from the last token, c (B, L, W)
        emb     = time(t) + u;   attention over [c, pixels]  in every attention block
        loss    = mean_i loss(x_t, t, caption_i or "" with probability caption_dropout)
        eps^    = eps(x_t, "") + guidance_scale (eps(x_t, caption) - eps(x_t, ""))  one call of 2 B rows
        x_t-1   ~ N(mean(x_t, clipped x0 of eps^), the variance that the network learned for the caption)

    One network so knows images with and without their captions. The defaults are those of the released
    model, GLIDE (filtered); recipes/paper.yaml is the paper's own size.

    Deviations from the paper: captions are emptied from the first step on, not in a second stage of training;
    lr and ema, which it does not give, are guided diffusion's; timesteps are spread evenly over a batch; CLIP
    guidance is left out. From the reference code: the vocabulary may be trained in `fit`; a guided image
    takes one trajectory, where the reference runs two and feeds the network the first one twice; positional
    and padding embeddings start as small random numbers, where it leaves whatever was in memory.

    >>> import headwater as hw
    >>> from headwater.methods.synthesis.glide.method import FittedGlide
    >>> fitted = FittedGlide.from_pretrained("glide")
    >>> hw.Glide(steps="4").apply(["red heart", "blue heart"], fitted, seed=0, progress=False).shape
    torch.Size([2, 3, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="GLIDE: Towards Photorealistic Image Generation and Editing with Text-Guided Diffusion Models",
        authors="Alex Nichol, Prafulla Dhariwal, Aditya Ramesh, Pranav Shyam, Pamela Mishkin, Bob McGrew, "
        "Ilya Sutskever, Mark Chen",
        year=2022,
        venue="ICML",
        arxiv="2112.10741",
        code="openai/glide-text2im",
        claim="Classifier-free guidance makes pictures match their captions better, at the price of variety.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures with a caption each",)
    applied: ClassVar[tuple[str, ...]] = ("guidance_scale", "steps", "sampler")

    tokenizer: str = "bpe"
    """Tokenizer of the captions: `bpe` or `word` trains one on them, other words name one on Hugging Face."""
    vocabulary: int = 50_257
    """Largest number of entries of a trained tokenizer."""
    length: int = 128
    """Number of tokens of a caption; longer captions are cut."""
    text_width: int = 512
    """Number of channels of the text transformer."""
    text_layers: int = 16
    """Number of layers of the text transformer."""
    text_heads: int = 8
    """Number of attention heads of the text transformer."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            192, (1, 2, 3, 4), 3, (2, 4, 8), num_head_channels=64, dropout=0.1, resblock_updown=True
        )
    )
    """Sizes of the U-Net that denoises."""
    T: int = 1000
    """Number of timesteps of the diffusion process."""
    betas: str = "cosine"
    """Noise schedule of the process: cosine or linear."""
    predicts: Target = "eps"
    """Quantity that the network predicts: eps, x0, v or score."""
    variance: Variance = "learned_range"
    """Variance of a step: fixed, or learned by the network (Nichol & Dhariwal 2021)."""
    base: str = ""
    """Fitted GLIDE to start from, whose sizes and vocabulary hold: a folder or the name of one that ships;
    empty starts from fresh weights."""
    caption_dropout: float = 0.2
    """Share of captions that are emptied in training, from 0 to below 1."""
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(2_500_000, 2048, 1e-4, ema=0.9999))
    """How the network is trained."""
    guidance_scale: float = 3.0
    """Scale of the classifier-free guidance: 1 does not guide, 0 ignores the caption."""
    steps: str = "150"
    """Timesteps visited: a number, counts per section such as "10,10,3,2,2", "ddim50" or "fast27"."""
    sampler: SamplerName = "ancestral"
    """Sampler that takes the steps; all but `ancestral` get by with fewer of them."""

    def fit(self, image: Images, text: Texts, **how: Unpack[RunOptions]) -> FittedGlide:
        """Learn to draw image[i] (C, H, W) in [-1, 1] for text[i].

        Raises UserError where images and captions cannot be paired or do not fit `base`, or for sizes that
        cannot be.
        """
        return self._fit(FittedGlide, image, text, Run(**how))

    def apply(self, text: Texts, fitted: FittedGlide, **how: Unpack[RunOptions]) -> Images:
        """Draw one image for each caption, (B, C, H, W) in [-1, 1]; an empty caption asks for nothing.

        Image i depends on the seed, i and its caption alone. Raises UserError where there is no caption, for
        one of which the vocabulary knows no word, or for `steps` that do not fit.
        """
        need(len(text) > 0, "there is no caption to draw: give one or more")
        return self.sample(fitted, text, Run(**how), must=True)

    def evaluate(self, drawn: Images, text: Texts, truth: Images) -> dict[str, float]:
        """Judge drawn[i] of text[i] by a dual encoder trained here on real images, truth[i] for text[i].

        retrieval: share of drawn images nearer to their own text than to 31 others, or fewer if there are
        fewer. similarity: mean cosine. diversity: mean distance of two drawn images, 1 - cosine. All are as
        good as the judge, which wants hundreds of images and sees them at 32 x 32 at most. Raises UserError
        for fewer than two different texts.
        """
        side = min(32, min(truth.shape[-2:]) // 8 * 8)
        need(side > 0, "the judge wants pictures of 8x8 or more")
        return caption_scores(area(drawn, side, side), text, area(truth, side, side))

    def sizes(self, channels: int, reads: int, vocabulary: int) -> Text2ImConfig:
        """The network for images of some channels whose first convolution reads `reads`."""
        text = TextConfig(vocabulary, self.length, self.text_width, self.text_layers, self.text_heads)
        out = channels * (1 if self.variance == "fixed" else 2)
        return Text2ImConfig(in_channels=reads, out_channels=out, text=text, **asdict(self.network))

    def _start(self, kind: type[G], image: Tensor, text: Sequence[str], run: Run) -> G:
        """The weights and vocabulary of `base`, or untrained weights for such images and a vocabulary of the
        captions."""
        if self.base:
            base = FittedGlide.from_pretrained(self.base)
            base.check(image)
            return kind.starting_from(base)
        tokenizer = Tokenizer.of(self.tokenizer, text, self.vocabulary)
        channels, height, width = image.shape[1:]
        network = self.sizes(channels, kind.reads[0] * channels + kind.reads[1], tokenizer.size)
        process = (self.T, self.betas, self.predicts, self.variance)
        config = GlideConfig(network, tokenizer, (channels, height, width), *process)
        return kind.fresh(config, derive(run.seed, Purpose.GLIDE_WEIGHTS))

    def _fit(
        self,
        kind: type[G],
        image: Tensor,
        text: Sequence[str],
        run: Run,
        further: Callable[[Tensor], dict[str, Tensor]] = lambda x0: {},
    ) -> G:
        """Train what `_start` makes. further: images (B, C, H, W) -> conditions besides the caption."""
        check_pairs(image, text)
        need(any(map(str.strip, text)), "there are no captions to learn from: give texts that say something")
        need(0 <= self.caption_dropout < 1, f"caption_dropout is {self.caption_dropout}: give 0 to below 1")
        fitted = self._start(kind, image, text, run)
        tokens, mask = fitted.tokens(text)

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            x0 = image[rows].to(run.device)
            t = stratified(len(rows), fitted.process.T, torch.rand(()))
            keep = torch.rand(len(rows), 1) >= self.caption_dropout
            eps = torch.randn(x0.shape).to(run.device)
            conditions = further(x0)
            summary, context = network.encode(tokens[rows].to(run.device), (mask[rows] & keep).to(run.device))  # pyright: ignore[reportCallIssue]
            denoiser = replace(fitted.denoiser, network=network)
            return denoiser.loss(x0, t, eps, summary=summary, context=context, **conditions).mean()

        trained = train(fitted.network, loss, len(image), self.training, run, self.learnt())
        return replace(fitted, network=trained)

    def sample(
        self,
        fitted: FittedGlide,
        text: Sequence[str],
        run: Run,
        further: Callable[[Batch], tuple[list[Control], dict[str, Tensor]]] = lambda batch: ([], {}),
        *,
        must: bool = False,
        plan: Sequence[int] | None = None,
    ) -> Tensor:
        """One image for each caption, (B, C, H, W). further: a batch -> its controls before the clip, and
        conditions besides the caption. must: whether a caption without a known word is an error. plan: the
        timesteps visited, where not those of `steps`."""
        q, encoded = fitted.process, fitted.encode(text, must=must)

        def begin(batch: Batch) -> Start:
            controls, conditions = further(batch)
            conditions |= {name: batch.take(value) for name, value in encoded.items()}
            return Start(q.start(batch.empty(*fitted.shape), batch.noise), [*controls, Clip()], conditions)

        return sample(
            guided(fitted.denoiser, self.guidance_scale, fitted.encode([""])),
            plan or timesteps_of(q, self.steps), len(text), begin, run,
            sampler=sampler_of(self.sampler, "small" if fitted.config.variance == "fixed" else "learned"),
            label="pictures",
        )  # fmt: skip


def check_pairs(image: Tensor, text: Sequence[str]) -> None:
    """Raise UserError unless there is one caption for each image."""
    need(
        image.ndim == 4 and len(image) == len(text),
        f"there are {len(image)} pictures and {len(text)} captions: give one caption for each picture",
    )


@dataclass(frozen=True)
class GlideConfig:
    """Sizes, vocabulary and process."""

    network: Text2ImConfig
    tokenizer: Tokenizer
    shape: tuple[int, int, int]
    """Channels, height and width of the images that it draws."""
    T: int = 1000
    betas: str = "cosine"
    predicts: Target = "eps"
    variance: Variance = "learned_range"

    def __post_init__(self) -> None:
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS} timesteps")
        fits = self.tokenizer.size <= self.network.text.vocab
        need(fits, f"the network has no room for {self.tokenizer.size} words: raise its vocabulary")


@dataclass(frozen=True, eq=False)
class FittedGlide(Pretrained):
    """What `Glide.fit` returns."""

    network: Text2Im
    config: GlideConfig

    kind = "glide"
    tags = ("text-to-image",)
    net: ClassVar[type[Text2Im]] = Text2Im
    reads: ClassVar[tuple[int, int]] = 1, 0
    """Images and masks that the first convolution reads."""
    schedule: ClassVar[str] = "cosine"
    """That the authors trained with."""

    @classmethod
    def networks(cls, config: GlideConfig) -> Parts:
        return {"network": cls.net(config.network)}

    @classmethod
    def starting_from(cls, base: FittedGlide) -> Self:
        """One with the weights, vocabulary and process of a fitted text-to-image GLIDE, to be trained on."""
        return cls(base.network.requires_grad_(True), base.config)

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """openai/glide-text2im: settings are the options of its model_creation.py.

        Its captions are GPT-2's tokens in lower case; `tokenizer` names another vocabulary.
        """
        network = published(shapes, settings)
        channels, (images, masks) = network.out_channels // 2, cls.reads
        reads = images * channels + masks
        need(network.in_channels == reads, f"it reads {network.in_channels} channels, not {reads}")
        words = settings.get("tokenizer", "gpt2")
        tokenizer = words if isinstance(words, Tokenizer) else Tokenizer.unmarked(words)
        side = settings.get("image_size", 2 ** (len(network.channel_mult) + 2))
        named = str(settings.get("noise_schedule", cls.schedule))
        T, schedule = settings.get("diffusion_steps", 1000), _SCHEDULES.get(named, named)
        config = GlideConfig(network, tokenizer, (channels, side, side), T, schedule)
        return Layout(config, prefixed)

    @cached_property
    def process(self) -> Diffusion:
        return Diffusion.vp(betas(self.config.betas, self.config.T))

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network read as it was trained; it takes `summary` and `context` from `encode`."""
        return Denoiser(self.network, self.process, self.config.predicts, self.config.variance)

    def tokens(self, text: Sequence[str], *, must: bool = False) -> tuple[Tensor, Tensor]:
        """Ids (B, ctx) int64 and a mask (B, ctx) bool, False where there is padding.

        Which texts are cut or have unknown words is noted; must: UserError for one with no known word.
        """
        tokenizer = self.config.tokenizer
        ids = tokenizer.encode(text, self.config.network.text.ctx, must=must)
        return ids, ids != tokenizer.pad

    @in_evaluation
    def encode(self, text: Sequence[str], batch: int = 256, *, must: bool = False) -> dict[str, Tensor]:
        """The conditions `summary` (B, E) and `context` (B, L, W); each distinct caption is encoded once.

        must: raise UserError where a caption has words, but none that the vocabulary knows.
        """
        first = {caption: i for i, caption in reversed(list(enumerate(text)))}
        distinct = {caption: i for i, caption in enumerate(dict.fromkeys(text))}
        device = next(self.network.parameters()).device
        rows = torch.tensor([first[caption] for caption in distinct])
        tokens, mask = (v[rows].to(device) for v in self.tokens(text, must=must))
        with torch.no_grad():
            pairs = zip(tokens.split(batch), mask.split(batch), strict=True)
            parts = [self.network.encode(a, b) for a, b in pairs]
        rows = torch.tensor([distinct[caption] for caption in text], device=device)
        summary, context = (torch.cat(part)[rows] for part in zip(*parts, strict=True))
        return {"summary": summary, "context": context}


@dataclass(frozen=True, eq=False)
class FittedGlideUpsampler(FittedGlide):
    """GLIDE's second stage, which also reads the small image, as `low`. No method samples from it yet."""

    kind = "glide-upsampler"
    net = SuperResText2Im
    reads = 2, 0
    schedule = "linear"
