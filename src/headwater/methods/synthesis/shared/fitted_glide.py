"""A fitted GLIDE, and captions as its network reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from headwater.core import Denoiser, Diffusion
from headwater.core.prediction import Target, Variance
from headwater.core.schedule import betas
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.nets.infer import unet_fields
from headwater.nets.text2im import InpaintText2Im, SuperResText2Im, Text2Im, Text2ImConfig
from headwater.nets.text_encoder import TextConfig

_SCHEDULES = {"squaredcos_cap_v2": "cosine"}


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
    reads: ClassVar[tuple[int, int]] = 1, 0
    """Pictures and masks that the first convolution reads."""
    schedule: ClassVar[str] = "cosine"
    """That the authors trained with."""

    @classmethod
    def networks(cls, config: GlideConfig) -> Parts:
        return {"network": Text2Im(config.network)}

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """openai/glide-text2im: settings are the options of its model_creation.py.

        Its captions are GPT-2's tokens in lower case; `tokenizer` names another vocabulary.
        """
        vocab, width = shapes["token_embedding.weight"]
        layers = {name.split(".")[2] for name in shapes if name.startswith("transformer.resblocks.")}
        many, final = settings.get("xf_heads", max(1, width // 64)), "final_ln.weight" in shapes
        text = TextConfig(vocab, shapes["positional_embedding"][0], width, len(layers), many, final)
        heads = {k: settings[k] for k in ("num_heads", "num_head_channels") if k in settings}
        heads = heads or {"num_head_channels": 64}
        network = Text2ImConfig(**unet_fields(shapes, use_new_attention_order=False, **heads), text=text)
        channels, (pictures, masks) = network.out_channels // 2, cls.reads
        reads = pictures * channels + masks
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
    reads = 2, 1

    @classmethod
    def networks(cls, config: GlideConfig) -> Parts:
        return {"network": InpaintText2Im(config.network)}


@dataclass(frozen=True, eq=False)
class FittedGlideUpsampler(FittedGlide):
    """GLIDE's second stage, which also reads the small picture, as `low`. No method draws with it yet."""

    network: SuperResText2Im

    kind = "glide-upsampler"
    reads = 2, 0
    schedule = "linear"

    @classmethod
    def networks(cls, config: GlideConfig) -> Parts:
        return {"network": SuperResText2Im(config.network)}
