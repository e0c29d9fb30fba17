"""A trained mask diffusion: the network, and all that is needed to draw masks with it and to keep it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.core import Denoiser, Diffusion
from headwater.core.prediction import Target
from headwater.core.schedule import linear
from headwater.errors import UserError, need
from headwater.models.saved import load_network, save_network
from headwater.models.schema import build
from headwater.nets.adm import UNetConfig
from headwater.nets.image_conditioned import ConcatenatedUNet, ImageConditioned, SummedUNet
from headwater.nets.rrdb import RRDBConfig

LEAST_T, MOST_T = 21, 100_000
"""The linear schedule, scaled to T, has betas above 1 below this; chains far above it do not exist."""
_MOST_CLASSES, _MOST_WIDTH, _MOST_DEPTH = 255, 1 << 14, 64
"""Bounds on what a description may ask for, checked before memory is taken."""


@dataclass(frozen=True, eq=False)
class FittedMasks:
    """Masks are one channel for two classes, else one channel per class.

    shape: (C, H, W) of the pictures. background: the diffused value where a mask is 0; it is 1 where it is 1.
    predicts: what the network answers, see `Denoiser`.
    """

    network: ImageConditioned
    shape: tuple[int, int, int]
    classes: int
    T: int
    background: float
    predicts: Target = "eps"
    kind: ClassVar[str]
    """Name of the method."""

    @property
    def channels(self) -> int:
        """Channels of a mask."""
        return channels_of(self.classes)

    @cached_property
    def denoiser(self) -> Denoiser:
        """Linear betas scaled to T; the network is told 1000 (t - 1) / T."""
        label = torch.arange(self.T, dtype=torch.float64) * 1000 / self.T
        learned = self.network.config.out_channels == 2 * self.channels
        q = Diffusion.vp(linear(self.T), label)
        return Denoiser(self.network, q, self.predicts, "learned_range" if learned else "fixed")

    def encode(self, labels: Tensor) -> Tensor:
        """Label maps int64 (B, H, W), or masks (B, K, H, W) in [0, 1], to float32 (B, K, H, W)."""
        if labels.is_floating_point():
            masks = labels.float()
        elif self.classes == 2:
            masks = labels[:, None].float()
        else:
            masks = F.one_hot(labels, self.classes).movedim(-1, 1).float()
        return self.background + (1 - self.background) * masks

    def decode(self, x: Tensor) -> Tensor:
        """Back to masks in the scale of 0 to 1, not clamped."""
        return (x - self.background) / (1 - self.background)

    def check(self, image: Tensor) -> None:
        """UserError unless pictures (B, C, H, W) are of the shape that was fitted on."""
        need(
            image.ndim == 4 and tuple(image.shape[1:]) == self.shape,
            f"pictures are {tuple(image.shape[1:])}, this was fitted on {self.shape}: resize the pictures or "
            "fit again",
        )

    def save(self, folder: str | Path) -> None:
        """Write network.safetensors and about.json, whole or not at all."""
        encoder = asdict(self.network.rrdb.config) if isinstance(self.network, SummedUNet) else None
        about = {"unet": asdict(self.network.config), "encoder": encoder, "shape": list(self.shape)}
        chain = {"classes": self.classes, "T": self.T, "background": self.background}
        save_network(folder, self.network, {"kind": self.kind, **about, **chain, "predicts": self.predicts})

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Read what `save` wrote. Raises UserError for a folder that is damaged or of another method."""
        network, about = load_network(folder, _network, cls.kind, device)
        channels, height, width = (int(v) for v in about["shape"])
        shape, chain = (channels, height, width), (about["classes"], about["T"], about["background"])
        return cls(cast(ImageConditioned, network), shape, *chain, about["predicts"])


def channels_of(classes: int) -> int:
    """Channels of a mask of so many classes."""
    return 1 if classes == 2 else classes


def _network(about: dict[str, Any]) -> ImageConditioned:
    unet = build(UNetConfig, dict(about["unet"]), "unet")
    encoder = None if about["encoder"] is None else build(RRDBConfig, dict(about["encoder"]), "encoder")
    shape, classes = about["shape"], about["classes"]
    widths = [*unet.widths, *((encoder.width, encoder.growth, encoder.blocks) if encoder else ())]
    if not (
        max(*widths, unet.in_channels, unet.out_channels) <= _MOST_WIDTH
        and max(len(unet.widths), unet.num_res_blocks, encoder.blocks if encoder else 1) <= _MOST_DEPTH
        and isinstance(classes, int)
        and 2 <= classes <= _MOST_CLASSES
        and isinstance(about["T"], int)
        and LEAST_T <= about["T"] <= MOST_T
        and isinstance(about["background"], int | float)
        and about["background"] < 1
        and about["predicts"] in get_args(Target)
        and len(shape) == 3
        and all(isinstance(v, int) and v > 0 for v in shape)
        and (shape[0] if encoder is None else 0) + channels_of(classes) == unet.in_channels
    ):
        raise UserError("about.json describes no network of this method: fit again")
    return ConcatenatedUNet(unet) if encoder is None else SummedUNet(unet, encoder)
