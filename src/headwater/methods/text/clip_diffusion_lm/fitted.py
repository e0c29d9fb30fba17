"""A fitted captioner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import linear
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.metrics.dual_encoder import DualEncoder, EncoderConfig
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.image_text import Encodes
from headwater.models.pretrained import Pretrained
from headwater.nets.caption_denoiser import CaptionDenoiser, CaptionDenoiserConfig, published, published_sizes
from headwater.nets.clip import Clip


def process_of(T: int, schedule: str) -> Diffusion:
    """Timesteps 0 .. T - 1 of the reference: the first is clean data, and the last one is not pure noise.

    cosine: abar_t = f(t) / f(0), f(t) = cos^2(pi/2 (t/T + 0.008) / 1.008). linear: betas 1e-4 .. 0.02.
    """
    if schedule == "cosine":
        u = torch.arange(T, dtype=torch.float64) / T
        f = ((u + 0.008) / 1.008 * math.pi / 2).cos().square()
        bar = f / f[0]
    else:
        bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - linear(T, 1e-4, 0.02)).cumprod(0)])[:T]
    return Diffusion(bar.sqrt(), (1 - bar).sqrt(), torch.arange(T, dtype=torch.float64))


@dataclass(frozen=True)
class Windows:
    """An encoder that sees a square picture through `count` windows a side, each as large as it takes; with
    one it sees the whole. The vectors of all windows in a row are a picture's, and of length 1."""

    encoder: Encodes
    count: int = 1

    def image(self, images: Tensor) -> Tensor:
        """Vectors (B, count^2 D) of pictures (B, C, S, S) in [-1, 1], row by row of windows."""
        if self.count == 1:
            return self.encoder.image(images)
        side = self.encoder.side
        first = torch.linspace(0, images.shape[-1] - side, self.count).round().int().tolist()
        seen = [self.encoder.image(images[..., y : y + side, x : x + side]) for y in first for x in first]
        return torch.cat(seen, 1) / self.count

    def text(self, texts: Sequence[str]) -> Tensor:
        """Vectors (B, count^2 D) of texts: their products with a picture's are means over windows."""
        return self.encoder.text(texts).repeat(1, self.count**2) / self.count


@dataclass(frozen=True)
class CaptionerConfig:
    """Sizes, vocabulary and process of a `FittedCaptioner`."""

    network: CaptionDenoiserConfig
    tokenizer: Tokenizer
    shape: tuple[int, int, int]
    """Channels, height and width of the pictures."""
    captions: int
    """Number of captions that it was trained on."""
    T: int = 1000
    clip: str = ""
    """The published CLIP that encodes pictures; empty where `encoder` does."""
    encoder: EncoderConfig | None = None
    grid: int = 1
    """Number of windows a side through which the encoder sees a picture."""

    def __post_init__(self) -> None:
        need(2 <= self.T <= MOST_STEPS, f"T is {self.T}: give 2 to {MOST_STEPS} timesteps")
        need(0 < self.captions <= MOST_STEPS, f"it has {self.captions} captions: fit again")
        need(
            self.grid >= 1 and self.network.features % self.grid**2 == 0,
            f"features of width {self.network.features} are not of {self.grid} windows a side",
        )
        need(
            bool(self.clip) != bool(self.encoder),
            "pictures are encoded by a CLIP or by an encoder of its own, one of them",
        )
        fits = self.tokenizer.size <= self.network.vocabulary
        need(fits, f"the network has no room for {self.tokenizer.size} words: raise its vocabulary")


@dataclass(frozen=True, eq=False)
class FittedCaptioner(Pretrained):
    """What `CLIPDiffusionLM.fit` returns."""

    network: CaptionDenoiser
    config: CaptionerConfig
    captions: Tensor
    """Text vectors of the captions that it was trained on, (M, D)."""
    encoder: DualEncoder | None = None
    """The encoder that was trained first; of a published CLIP a folder has the name alone."""

    kind = "clip-diffusion-lm"
    tags = ("image-to-text",)

    @classmethod
    def networks(cls, config: CaptionerConfig) -> Parts:
        width, sizes = config.network.features, config.encoder
        parts: Parts = {"network": CaptionDenoiser(config.network)}
        parts["captions"] = torch.empty(config.captions, width)
        if sizes is not None:
            one = width // config.grid**2
            parts["encoder"] = DualEncoder(config.shape[0], sizes.side, sizes.vocabulary, sizes.width, one)
        return parts

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """xu-shitong/diffusion-image-captioning: settings are constants of its script.

        `length`, `side`, `T`, `heads`; `clip` and `tokenizer` name the encoders. It comes without captions,
        so it is not guided.
        """
        network = published_sizes(shapes, settings.get("length", 16), settings.get("heads"))
        tokenizer = Tokenizer.named(settings.get("tokenizer", "distilbert-base-uncased"))
        side, clip = settings.get("side", 224), settings.get("clip", "openai/clip-vit-base-patch32")
        config = CaptionerConfig(network, tokenizer, (3, side, side), 1, settings.get("T", 1000), clip)
        captions = torch.zeros(1, network.features)
        return Layout(config, lambda name: prefixed(published(name)), {"captions": captions})

    @cached_property
    def encoders(self) -> Windows:
        """The encoders of pictures and texts. Raises UserError for a CLIP that cannot be read."""
        found = self.encoder or Clip(self.config.clip, str(self.captions.device))
        return Windows(found, self.config.grid)

    @cached_property
    def process(self) -> Diffusion:
        """The paper's cosine schedule."""
        return process_of(self.config.T, "cosine")

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, which takes `image`, `text` and `with_text`."""
        return Denoiser(self.network, self.process, predicts="x0")


def encoded(encode: Callable[[Any], Tensor], items: Any, batch: int = 256) -> Tensor:
    """Vectors of many pictures or texts, (N, D), of length sqrt(D), on the CPU, a batch at a time.

    Of that length, a channel is about as large as one of a word's vector, and a network uses it at once.
    """
    need(len(items) > 0, "there is nothing to encode")
    with torch.inference_mode():
        unit = torch.cat([encode(items[i : i + batch]).cpu() for i in range(0, len(items), batch)])
    return unit * unit.shape[1] ** 0.5  # outside inference mode: a training saves it for its gradients


def neighbours(images: Tensor, texts: Tensor, number: Tensor | None = None) -> Tensor:
    """For each picture vector (B, D) the index of the nearest text vector (M, D), (B,) int64.

    number: (B,), where B = M and pairs of one number share their text: such texts are passed over.
    """
    near = images @ texts.T
    if number is not None:
        near = near.masked_fill(number[:, None] == number[None], -torch.inf)
    return near.argmax(1)
