"""A fitted captioner and the folder that keeps it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import linear
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.gallery import shipped_fitted
from headwater.methods.text.clip_diffusion_lm.picture_features import Clip
from headwater.metrics.dual_encoder import DualEncoder
from headwater.models.saved import load_network, save_network
from headwater.nets.caption_denoiser import CaptionDenoiser, CaptionDenoiserConfig

_KIND = "clip-diffusion-lm"
_LONGEST = 100_000
"""Levels, and captions remembered, that a file may ask for."""


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


@dataclass(frozen=True, eq=False)
class FittedCaptioner:
    """Network, eyes, vocabulary and process: what `CLIPDiffusionLM.fit` returns."""

    network: CaptionDenoiser
    eyes: DualEncoder | Clip
    tokenizer: Tokenizer
    captions: Tensor
    """Text vectors of the captions that it learnt from, (M, D)."""
    shape: tuple[int, int, int]
    """Channels, height and width of the pictures that it takes."""
    T: int = 1000

    @cached_property
    def process(self) -> Diffusion:
        return levels(self.T, "cosine")

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, which takes `image`, `text` and `told`."""
        return Denoiser(self.network, self.process, predicts="x0")

    def save(self, folder: str | Path) -> None:
        """Write weights, sizes and vocabulary, whole or not at all; of a published CLIP its name alone."""
        parts = nn.Module()
        parts.network, eyes = self.network, {"name": getattr(self.eyes, "name", "")}
        parts.register_buffer("captions", self.captions)
        if isinstance(self.eyes, DualEncoder):
            parts.eyes = self.eyes
            eyes = {"name": "", "vocabulary": [*self.eyes.vocabulary], "side": self.eyes.side}
            eyes |= {"dim": self.eyes.head.out_features, "width": _width(self.eyes)}
        about = {
            "kind": _KIND,
            "T": self.T,
            "shape": list(self.shape),
            "captions": len(self.captions),
            "network": asdict(self.network.config),
            "eyes": eyes,
            "tokenizer": self.tokenizer.to_json(),
        }
        save_network(folder, parts, about)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> FittedCaptioner:
        """Read what `save` wrote, or what ships under a name.

        Raises UserError for a folder that is damaged or another method's, or a CLIP that cannot be read.
        """
        folder = shipped_fitted(folder)
        parts, about = load_network(folder, _build, _KIND, device)
        tokenizer = Tokenizer.from_json(str(about.get("tokenizer")))
        T, name = about.get("T"), about["eyes"]["name"]
        need(type(T) is int and 2 <= T <= _LONGEST, f"{folder} names {T} levels: fit again")
        network: Any = parts.network
        need(tokenizer.size <= network.config.vocabulary, f"the two files in {folder} disagree: fit again")
        eyes: Any = Clip(name, device) if name else parts.eyes
        channels, height, width = about["shape"]
        captions: Any = parts.captions
        return cls(network, eyes, tokenizer, captions, (channels, height, width), T)  # pyright: ignore[reportArgumentType]


def _width(eyes: DualEncoder) -> int:
    first: Any = eyes.body[0]
    return first.out_channels


def _build(about: dict[str, Any]) -> nn.Module:
    parts, eyes, config = nn.Module(), about["eyes"], CaptionDenoiserConfig(**about["network"])
    if type(about["captions"]) is not int or not 0 < about["captions"] <= _LONGEST:
        raise ValueError(f"it remembers {about['captions']} captions")
    parts.network = CaptionDenoiser(config)
    parts.register_buffer("captions", torch.empty(about["captions"], config.features))
    if not eyes["name"]:
        side, width = eyes["side"], eyes["width"]
        if not (type(side) is int and type(width) is int and 8 <= side <= 512 and 1 <= width <= 512):
            raise ValueError(f"its eyes have sides of {side} and a width of {width}")
        parts.eyes = DualEncoder(about["shape"][0], side, eyes["vocabulary"], width, config.features)
    return parts
