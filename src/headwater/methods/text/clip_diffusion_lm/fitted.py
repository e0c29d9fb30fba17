"""A fitted captioner."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import linear
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.text.clip_diffusion_lm.picture_features import Clip
from headwater.metrics.dual_encoder import DualEncoder
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.caption_denoiser import CaptionDenoiser, CaptionDenoiserConfig


def levels(T: int, schedule: str) -> Diffusion:
    """Levels 0 .. T - 1 of the reference: its entry 0 is clean data, and its last one is not pure noise.

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
class EncoderConfig:
    """Sizes of a `DualEncoder`."""

    vocabulary: tuple[str, ...]
    side: int
    width: int

    def __post_init__(self) -> None:
        need(8 <= self.side <= 512 and 1 <= self.width <= 512, "sides are 8 to 512, the width is 1 to 512")

    @classmethod
    def of(cls, encoder: DualEncoder) -> EncoderConfig:
        """Those of an encoder."""
        return cls(tuple(encoder.vocabulary), encoder.side, encoder.body[0].out_channels)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class CaptionerConfig:
    """Sizes, vocabulary and process."""

    network: CaptionDenoiserConfig
    tokenizer: Tokenizer
    shape: tuple[int, int, int]
    """Channels, height and width of the pictures that it takes."""
    captions: int
    """How many captions it remembers."""
    T: int = 1000
    clip: str = ""
    """The published CLIP that it sees through; empty: `encoder`."""
    encoder: EncoderConfig | None = None

    def __post_init__(self) -> None:
        need(2 <= self.T <= MOST_STEPS, f"T is {self.T}: give 2 to {MOST_STEPS} levels")
        need(0 < self.captions <= MOST_STEPS, f"it remembers {self.captions} captions: fit again")
        need(bool(self.clip) != bool(self.encoder), "it sees through one of a CLIP and an encoder of its own")
        fits = self.tokenizer.size <= self.network.vocabulary
        need(fits, f"the network has no room for {self.tokenizer.size} words: raise its vocabulary")


@dataclass(frozen=True, eq=False)
class FittedCaptioner(Pretrained):
    """What `CLIPDiffusionLM.fit` returns."""

    network: CaptionDenoiser
    config: CaptionerConfig
    captions: Tensor
    """Text vectors of the captions that it learnt from, (M, D)."""
    encoder: DualEncoder | None = None
    """What was trained to see; of a published CLIP a folder keeps the name alone."""

    kind = "clip-diffusion-lm"
    tags = ("image-to-text",)

    @classmethod
    def networks(cls, config: CaptionerConfig) -> Parts:
        width, sizes = config.network.features, config.encoder
        parts: Parts = {"network": CaptionDenoiser(config.network)}
        parts["captions"] = torch.empty(config.captions, width)
        if sizes is not None:
            parts["encoder"] = DualEncoder(config.shape[0], sizes.side, sizes.vocabulary, sizes.width, width)
        return parts

    @cached_property
    def eyes(self) -> DualEncoder | Clip:
        """What sees pictures. Raises UserError for a CLIP that cannot be read."""
        return self.encoder or Clip(self.config.clip, str(self.captions.device))

    @cached_property
    def process(self) -> Diffusion:
        """The paper's cosine levels."""
        return levels(self.config.T, "cosine")

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, which takes `image`, `text` and `told`."""
        return Denoiser(self.network, self.process, predicts="x0")
