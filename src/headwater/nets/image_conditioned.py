"""U-Nets that draw one thing while looking at a picture: two ways of letting the picture in.

Both split the picture's part off as `encode`, which sees neither x_t nor t: it is run once per picture, and
its answer serves every step and every sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.rrdb import RRDB, RRDBConfig


class SummedUNet(UNet):
    """D(E(F(x_t) + G(picture), t), t): F is the U-Net's first convolution, G an RRDB (SegDiff, sec. 3).

    Parameter names are those of SegDiff's checkpoints.
    """

    def __init__(self, config: UNetConfig, encoder: RRDBConfig) -> None:
        if encoder.out_channels != config.widths[0]:
            raise ValueError(
                f"the encoder gives {encoder.out_channels} channels, the U-Net wants {config.widths[0]}."
            )
        super().__init__(config)
        self.rrdb = RRDB(encoder)

    def encode(self, image: Tensor) -> Tensor:
        """What `forward` takes as `features`: (B, C, H, W) -> (B, width, H, W)."""
        return self.rrdb(image)


class ConcatenatedUNet(UNet):
    """The picture's channels before those of x_t (Wolleb et al. 2022, sec. 2)."""

    def encode(self, image: Tensor) -> Tensor:
        """What `forward` takes as `features`: the picture itself."""
        return image

    def forward(
        self, x: Tensor, timesteps: Tensor, y: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """x (B, K, H, W), features (B, C, H, W) with K + C = in_channels."""
        seen = x if features is None else torch.cat([features.to(x.dtype), x], dim=1)
        return super().forward(seen, timesteps, y)


ImageConditioned = SummedUNet | ConcatenatedUNet
