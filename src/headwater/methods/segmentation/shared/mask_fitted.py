"""A trained mask diffusion: the network, and all that is needed to draw masks with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.core import Denoiser, Diffusion
from headwater.core.prediction import Target
from headwater.core.schedule import linear
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.nets.adm import UNetConfig
from headwater.nets.image_conditioned import ConcatenatedUNet, ImageConditioned, SummedUNet
from headwater.nets.infer import unet_fields
from headwater.nets.rrdb import RRDBConfig, infer_encoder

LEAST_T = 21
"""The linear schedule, scaled to T, has betas above 1 below this."""
_MOST_CLASSES = 255


@dataclass(frozen=True)
class MasksConfig:
    """Sizes, classes and process. Masks are one channel for two classes, else one channel per class."""

    network: UNetConfig
    encoder: RRDBConfig | None
    """Of the picture, where its features are added to those of the mask; None: its channels are read."""
    shape: tuple[int, int, int]
    """(C, H, W) of the pictures."""
    classes: int
    T: int
    background: float
    """The diffused value where a mask is 0; it is 1 where it is 1."""
    predicts: Target = "eps"
    """What the network answers, see `Denoiser`."""

    def __post_init__(self) -> None:
        need(2 <= self.classes <= _MOST_CLASSES, f"classes is {self.classes}: give 2 to {_MOST_CLASSES}")
        need(LEAST_T <= self.T <= MOST_STEPS, f"T is {self.T}: give {LEAST_T} to {MOST_STEPS}")
        need(self.background < 1, "the background is below 1")
        reads = channels_of(self.classes) + (self.shape[0] if self.encoder is None else 0)
        need(self.network.in_channels == reads, f"the network reads other channels than {reads}")


@dataclass(frozen=True, eq=False)
class FittedMasks(Pretrained):
    """A network that draws masks while it looks at a picture."""

    network: ImageConditioned
    config: MasksConfig

    @classmethod
    def networks(cls, config: MasksConfig) -> Parts:
        encoder = config.encoder
        unet = config.network
        return {"network": ConcatenatedUNet(unet) if encoder is None else SummedUNet(unet, encoder)}

    theirs: ClassVar[tuple[int, float, int]]
    """Levels, value of the background, and attention heads, that the authors train with."""

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """The flags of the authors' scripts, `image_size`, `num_heads` and `diffusion_steps`, are settings.

        tomeramit/SegDiff adds the features of an RRDB, JuliaWolleb/Diffusion-based-Segmentation reads the
        picture's channels before the mask's one.
        """
        T, background, heads = cls.theirs
        apart = {k.removeprefix("rrdb."): v for k, v in shapes.items() if k.startswith("rrdb.")}
        encoder = infer_encoder(apart) if apart else None
        heads = settings.get("num_heads", heads)
        network = UNetConfig(**unet_fields(shapes, num_heads=heads, use_new_attention_order=False))
        side, T = int(settings["image_size"]), int(settings.get("diffusion_steps", T))
        pictures = encoder.in_channels if encoder else network.in_channels - 1
        config = MasksConfig(network, encoder, (pictures, side, side), 2, T, background)
        return Layout(config, prefixed)

    @classmethod
    def around(
        cls,
        network: ImageConditioned,
        shape: tuple[int, int, int],
        classes: int,
        T: int,
        background: float,
        predicts: Target = "eps",
    ) -> Self:
        """One around a network, whose sizes it takes; the other fields are those of `MasksConfig`."""
        encoder = network.rrdb.config if isinstance(network, SummedUNet) else None
        return cls(network, MasksConfig(network.config, encoder, shape, classes, T, background, predicts))

    @property
    def channels(self) -> int:
        """Channels of a mask."""
        return channels_of(self.config.classes)

    @cached_property
    def denoiser(self) -> Denoiser:
        """Linear betas scaled to T; the network is told 1000 (t - 1) / T."""
        T = self.config.T
        label = torch.arange(T, dtype=torch.float64) * 1000 / T
        learned = self.config.network.out_channels == 2 * self.channels
        q = Diffusion.vp(linear(T), label)
        return Denoiser(self.network, q, self.config.predicts, "learned_range" if learned else "fixed")

    def encode(self, labels: Tensor) -> Tensor:
        """Label maps int64 (B, H, W), or masks (B, K, H, W) in [0, 1], to float32 (B, K, H, W)."""
        if labels.is_floating_point():
            masks = labels.float()
        elif self.config.classes == 2:
            masks = labels[:, None].float()
        else:
            masks = F.one_hot(labels, self.config.classes).movedim(-1, 1).float()
        background = self.config.background
        return background + (1 - background) * masks

    def decode(self, x: Tensor) -> Tensor:
        """Back to masks in the scale of 0 to 1, not clamped."""
        return (x - self.config.background) / (1 - self.config.background)

    def check(self, image: Tensor) -> None:
        """UserError unless pictures (B, C, H, W) are of the shape that was fitted on."""
        need(
            image.ndim == 4 and tuple(image.shape[1:]) == self.config.shape,
            f"pictures are {tuple(image.shape[1:])}, this was fitted on {self.config.shape}: resize the "
            "pictures or fit again",
        )


def channels_of(classes: int) -> int:
    """Channels of a mask of so many classes."""
    return 1 if classes == 2 else classes
