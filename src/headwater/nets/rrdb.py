"""The residual-in-residual dense network of ESRGAN, as an image encoder at full resolution.

Source: Wang et al., "ESRGAN", 2018, arXiv 1809.00219, section 3.1; SegDiff (Amit et al. 2021) takes it
without the upsampling. Parameter names follow SegDiff's published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import UserError


@dataclass(frozen=True)
class RRDBConfig:
    """Architecture of the encoder. Raises UserError for counts below 1."""

    in_channels: int
    out_channels: int
    blocks: int
    width: int = 64
    """Channels between blocks."""
    growth: int = 32
    """Channels that each convolution of a dense block adds."""

    def __post_init__(self) -> None:
        if min(self.in_channels, self.out_channels, self.blocks, self.width, self.growth) < 1:
            raise UserError("choose 1 or more channels, blocks, width and growth for the image encoder.")


def infer_encoder(shapes: Mapping[str, tuple[int, ...]]) -> RRDBConfig:
    """Architecture behind the names and shapes of `RRDB`. Raises KeyError for those of another network."""
    blocks = {name.split(".")[1] for name in shapes if name.startswith("RRDB_trunk.")}
    width, channels = shapes["conv_first.weight"][:2]
    growth = shapes["RRDB_trunk.0.RDB1.conv1.weight"][0]
    return RRDBConfig(channels, shapes["conv_last.weight"][0], len(blocks), width, growth)


class DenseBlock(nn.Module):
    """Five convolutions, each reading all before it; a fifth of the last is added: (B,C,H,W) -> same."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for k in range(5):
            out = growth if k < 4 else width
            self.add_module(f"conv{k + 1}", nn.Conv2d(width + k * growth, out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        *first, final = self.children()
        seen = x
        for conv in first:
            seen = torch.cat([seen, _leaky(conv(seen))], dim=1)
        return x + 0.2 * final(seen)


class Block(nn.Module):
    """Three dense blocks in a row; a fifth of the outcome is added: (B,C,H,W) -> same."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for k in range(3):
            self.add_module(f"RDB{k + 1}", DenseBlock(width, growth))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for dense in self.children():
            out = dense(out)
        return x + 0.2 * out


class RRDB(nn.Module):
    """Image encoder without any change of resolution: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.conv_first = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.RRDB_trunk = nn.Sequential(*(Block(width, config.growth) for _ in range(config.blocks)))
        self.trunk_conv = nn.Conv2d(width, width, 3, padding=1)
        self.HRconv = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, config.out_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.conv_first(image)
        deep = first + self.trunk_conv(self.RRDB_trunk(first))
        return self.conv_last(_leaky(self.HRconv(deep)))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
