"""A fitted GLIDE, and captions as its network reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from headwater.core import Denoiser, Diffusion
from headwater.core.prediction import Target, Variance
from headwater.core.schedule import betas
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.text2im import InpaintText2Im, Text2Im, Text2ImConfig


@dataclass(frozen=True)
class GlideConfig:
    """Sizes, vocabulary and process."""

    network: Text2ImConfig
    tokenizer: Tokenizer
    shape: tuple[int, int, int]
    """Channels, height and width of the pictures that it draws."""
    T: int = 1000
    betas: str = "cosine"
    predicts: Target = "eps"
    variance: Variance = "learned_range"

    def __post_init__(self) -> None:
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS} levels")
        fits = self.tokenizer.size <= self.network.text.vocab
        need(fits, f"the network has no room for {self.tokenizer.size} words: raise its vocabulary")


@dataclass(frozen=True, eq=False)
class FittedGlide(Pretrained):
    """What `Glide.fit` returns."""

    network: Text2Im
    config: GlideConfig

    kind = "glide"
    tags = ("text-to-image",)

    @classmethod
    def networks(cls, config: GlideConfig) -> Parts:
        return {"network": Text2Im(config.network)}

    @cached_property
    def process(self) -> Diffusion:
        return Diffusion.vp(betas(self.config.betas, self.config.T))

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network read as it was trained; it takes `summary` and `context` from `encode`."""
        return self.reading(self.network)

    def reading(self, network: Any) -> Denoiser:
        """The same reading of other weights, or of the network in another wrapper."""
        return Denoiser(network, self.process, self.config.predicts, self.config.variance)

    def tokens(self, text: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, ctx) int64 and a mask (B, ctx) bool, False where there is padding."""
        tokenizer = self.config.tokenizer
        ids = tokenizer.encode(text, self.config.network.text.ctx)
        return ids, ids != tokenizer.pad

    def encode(self, text: Sequence[str], batch: int = 256) -> dict[str, Tensor]:
        """The conditions `summary` (B,E) and `context` (B,L,W); each distinct caption is encoded once."""
        distinct = {caption: i for i, caption in enumerate(dict.fromkeys(text))}
        device = next(self.network.parameters()).device
        tokens, mask = (v.to(device) for v in self.tokens(list(distinct)))
        with torch.no_grad():
            pairs = zip(tokens.split(batch), mask.split(batch), strict=True)
            parts = [self.network.encode(a, b) for a, b in pairs]
        rows = torch.tensor([distinct[caption] for caption in text], device=device)
        summary, context = (torch.cat(part)[rows] for part in zip(*parts, strict=True))
        return {"summary": summary, "context": context}


@dataclass(frozen=True, eq=False)
class FittedGlideInpaint(FittedGlide):
    """What `GlideInpaint.fit` returns: its network also takes `image` and `known`."""

    network: InpaintText2Im

    kind = "glide-inpaint"

    @classmethod
    def networks(cls, config: GlideConfig) -> Parts:
        return {"network": InpaintText2Im(config.network)}
