"""A fitted GLIDE, the folder that keeps it, and captions as its network reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from headwater.core import Denoiser, Diffusion
from headwater.core.prediction import Target, Variance
from headwater.core.schedule import betas
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.gallery import shipped_fitted
from headwater.models.saved import load_network, save_network
from headwater.nets.text2im import InpaintText2Im, Text2Im, Text2ImConfig

_LONGEST = 100_000
_MOST = {
    "width": 1 << 14,
    "layers": 128,
    "vocab": 1 << 21,
    "ctx": 1 << 14,
    "num_res_blocks": 64,
    "levels": 10,
    "in_channels": 1 << 10,
    "out_channels": 1 << 10,
}
"""Bounds on what a file may ask for, checked before anything is allocated."""


@dataclass(frozen=True, eq=False)
class FittedGlide:
    """Network, vocabulary and process: what `Glide.fit` returns."""

    network: Text2Im
    tokenizer: Tokenizer
    shape: tuple[int, int, int]
    """Channels, height and width of the pictures that it draws."""
    T: int = 1000
    betas: str = "cosine"
    predicts: Target = "eps"
    variance: Variance = "learned_range"

    kind: ClassVar[str] = "glide"
    network_class: ClassVar[type[Text2Im]] = Text2Im

    @cached_property
    def process(self) -> Diffusion:
        return Diffusion.vp(betas(self.betas, self.T))

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network read as it was trained; it takes `summary` and `context` from `encode`."""
        return self.reading(self.network)

    def reading(self, network: Any) -> Denoiser:
        """The same reading of other weights, or of the network in another wrapper."""
        return Denoiser(network, self.process, self.predicts, self.variance)

    def tokens(self, text: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, ctx) int64 and a mask (B, ctx) bool, False where there is padding."""
        ids = self.tokenizer.encode(text, self.network.config.text.ctx)
        return ids, ids != self.tokenizer.pad

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

    def save(self, folder: str | Path) -> None:
        """Write weights, sizes and vocabulary, whole or not at all."""
        about = {
            "kind": self.kind,
            "network": asdict(self.network.config),
            "tokenizer": self.tokenizer.to_json(),
            "shape": list(self.shape),
            "T": self.T,
            "betas": self.betas,
            "predicts": self.predicts,
            "variance": self.variance,
        }
        save_network(folder, self.network, about)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Read what `save` wrote, or what ships under a name. Raises UserError for anything else."""
        folder = shipped_fitted(folder)
        network, about = load_network(folder, cls._build, cls.kind, device)
        tokenizer = Tokenizer.from_json(str(about.get("tokenizer")))
        shape, T = tuple(about.get("shape") or ()), about.get("T")
        fits = isinstance(network, cls.network_class) and tokenizer.size <= network.config.text.vocab
        fits = fits and len(shape) == 3 and type(T) is int and 1 <= T <= _LONGEST
        need(fits, f"the vocabulary and the network in {folder} disagree: fit again")
        names = {key: str(about.get(key)) for key in ("betas", "predicts", "variance")}
        return cls(network, tokenizer, shape, T, **names)  # pyright: ignore[reportArgumentType]

    @classmethod
    def _build(cls, about: dict[str, Any]) -> Text2Im:
        config = Text2ImConfig(**about["network"])
        asked = {**asdict(config), **asdict(config.text), "levels": len(config.widths)}
        asked["width"] = max(*config.widths, config.text.width)
        sane = all(asked[key] <= most for key, most in _MOST.items())
        need(sane, "this network is wider or longer than any that was published: fit again")
        return cls.network_class(config)


@dataclass(frozen=True, eq=False)
class FittedGlideInpaint(FittedGlide):
    """What `GlideInpaint.fit` returns: its network also takes `image` and `known`."""

    kind: ClassVar[str] = "glide-inpaint"
    network_class: ClassVar[type[Text2Im]] = InpaintText2Im
