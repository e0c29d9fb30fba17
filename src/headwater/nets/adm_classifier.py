"""Guided diffusion's classifier of noisy images: the U-Net's encoder with a pooling head.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021,
arXiv 2105.05233, section 4. Parameter names follow openai/guided-diffusion (MIT).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from headwater.nets.adm_blocks import (
    EncoderConfig,
    GroupNorm32,
    check_input,
    encoder,
    middle,
    pointwise,
    self_attention,
    time_mlp,
    timestep_embedding,
    zeroed,
)

Pool = Literal["adaptive", "attention", "spatial", "spatial_v2"]
HIDDEN = 2048


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig):
    """Architecture of a classifier; `out_channels` is the number of classes.

    The attention pool fixes the picture size and needs `image_size` (pixels per side) and
    `num_head_channels`; ValueError without them.
    """

    pool: Pool = "adaptive"
    image_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool not in get_args(Pool):
            raise ValueError(f"choose pool from {', '.join(get_args(Pool))}; it is {self.pool!r}.")
        if self.pool == "attention":
            if self.num_head_channels == -1 or self.image_size is None:
                raise ValueError("set image_size and num_head_channels: pool='attention' uses both.")
            if self.image_size % self.downsampling:
                raise ValueError(f"choose an image_size divisible by {self.downsampling}.")


class AttentionPool(nn.Module):
    """One attention query, the mean over pixels: (B,C,side,side) -> (B,out)."""

    def __init__(self, side: int, channels: int, heads: int, out_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(channels, side**2 + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).mT
        rows = torch.cat([rows.mean(dim=1, keepdim=True), rows], dim=1)
        rows = rows + self.positional_embedding.mT.to(rows.dtype)
        rows = self_attention(pointwise(self.qkv_proj, rows), self.heads, "(qkv heads d)")
        return pointwise(self.c_proj, rows[:, 0])


class Classifier(nn.Module):
    """Class logits of noisy images: x (B,C,H,W), timesteps (B,) -> (B, out_channels)."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = time_mlp(config.model_channels)
        self.input_blocks, channels = encoder(config)
        self.middle_block = middle(config)
        self.out = head(config, sum(channels) + config.widths[-1])

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """Logits in the dtype of `x`; the softmax is over classes.

        Args:
            x: (B, in_channels, H, W), at the noise level of `timesteps`.
            timesteps: (B,), in the numbering the classifier was trained with.

        Raises:
            ValueError: on a wrong shape.
        """
        if self.config.pool == "attention" and set(x.shape[2:]) != {self.config.image_size}:
            side = self.config.image_size
            raise ValueError(f"resize to {side}x{side} pixels, the size this classifier reads.")
        if not self.config.pool.startswith("spatial"):
            return self.out(self.features(x, timesteps)).to(x.dtype)
        means = [h.mean(dim=(2, 3)) for h in self.maps(x, timesteps)]
        return self.out(torch.cat(means, dim=1)).to(x.dtype)

    def features(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """Output of the middle block, (B, width of the last level, h, w), whatever the divisible sides."""
        (last,) = deque(self.maps(x, timesteps), maxlen=1)
        return last

    def maps(self, x: Tensor, timesteps: Tensor) -> Iterator[Tensor]:
        """Outputs of all blocks in order, the middle one last."""
        check_input(self.config, x, timesteps)
        table = timestep_embedding(timesteps, self.config.model_channels)
        emb = self.time_embed(table.to(next(self.time_embed.parameters()).dtype))
        h = x.to(emb.dtype)
        for block in (*self.input_blocks, self.middle_block):
            h = block(h, emb)
            yield h


def head(config: ClassifierConfig, features: int) -> nn.Sequential:
    """The pooling head: reads the deepest map, or `features` means of all maps ("spatial")."""
    width, classes = config.widths[-1], config.out_channels
    if config.pool == "adaptive":
        pool = (nn.AdaptiveAvgPool2d(1), zeroed(nn.Conv2d(width, classes, 1)), nn.Flatten())
        return nn.Sequential(GroupNorm32(width), nn.SiLU(), *pool)
    if config.pool == "attention":
        side = (config.image_size or 0) // config.downsampling
        pool = AttentionPool(side, width, config.heads(width, 1), classes)
        return nn.Sequential(GroupNorm32(width), nn.SiLU(), pool)
    if config.pool == "spatial":
        return nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    return nn.Sequential(
        nn.Linear(features, HIDDEN), GroupNorm32(HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, classes)
    )
