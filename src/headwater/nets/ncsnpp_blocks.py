"""The layers of `headwater.nets.ncsnpp`, named as in score_sde (Song et al. 2021, appendix H)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.nets.upsampling import twice

_FILTER = (1.0, 3.0, 3.0, 1.0)
"""StyleGAN2's binomial filter."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of four channels, at most 32 groups."""
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def dense(into: int, out: int) -> nn.Linear:
    """A linear layer that starts with Xavier's uniform weights and no bias."""
    layer = nn.Linear(into, out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def filtered(x: Tensor, gain: float, pad: int, down: bool = False) -> Tensor:
    """x (B, C, H, W) under the normalised filter times `gain`; every second value if `down`."""
    kernel = _kernel(x) * gain
    planes = F.conv2d(x.flatten(0, 1)[:, None], kernel, stride=2 if down else 1, padding=pad)
    return planes[:, 0].unflatten(0, x.shape[:2])


def _kernel(x: Tensor) -> Tensor:
    line = torch.tensor(_FILTER, dtype=x.dtype, device=x.device)
    line = line / line.sum()
    return torch.outer(line, line)[None, None]


def halved(x: Tensor, fir: bool) -> Tensor:
    """(B, C, H, W) -> (B, C, H/2, W/2)."""
    return filtered(x, 1.0, 1, down=True) if fir else F.avg_pool2d(x, 2)


def doubled(x: Tensor, fir: bool) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W)."""
    if not fir:
        return twice(x)
    planes = F.conv_transpose2d(x.flatten(0, 1)[:, None], 4 * _kernel(x), stride=2, padding=1)
    return planes[:, 0].unflatten(0, x.shape[:2])


class FourierFeatures(nn.Module):
    """(B,) -> (B, 2 width): sines and cosines of 2 pi W x at fixed Gaussian frequencies W."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(width) * scale, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        angle = x[:, None] * self.W * 2 * math.pi
        return torch.cat([angle.sin(), angle.cos()], 1)


class Pointwise(nn.Module):
    """A linear map of the channels at each pixel (the reference's NIN)."""

    def __init__(self, channels: int, scale: float = 0.1) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(channels, channels))
        self.b = nn.Parameter(torch.zeros(channels))
        nn.init.xavier_uniform_(self.W, gain=math.sqrt(scale))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,cd->bdhw", x, self.W) + self.b[:, None, None]


class Attention(nn.Module):
    """Single-headed attention over the pixels, added to x and divided by sqrt 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = group_norm(channels)
        self.NIN_0 = Pointwise(channels)
        self.NIN_1 = Pointwise(channels)
        self.NIN_2 = Pointwise(channels)
        self.NIN_3 = Pointwise(channels, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        h = self.GroupNorm_0(x)
        q, k, v = (part(h).flatten(2).mT for part in (self.NIN_0, self.NIN_1, self.NIN_2))
        seen = F.scaled_dot_product_attention(q, k, v).mT.unflatten(2, x.shape[2:])
        return (x + self.NIN_3(seen)) / math.sqrt(2)


class ResBlock(nn.Module):
    """BigGAN's residual block: norm, SiLU, resample, convolve, add the time, and once more."""

    def __init__(
        self,
        into: int,
        out: int,
        emb: int,
        dropout: float,
        fir: bool,
        resample: Literal["no", "up", "down"] = "no",
    ) -> None:
        super().__init__()
        self.resample: Literal["no", "up", "down"] = resample
        self.fir = fir
        self.GroupNorm_0 = group_norm(into)
        self.Conv_0 = _conv(into, out, 3)
        self.Dense_0 = dense(emb, out)
        self.GroupNorm_1 = group_norm(out)
        self.Dropout_0 = nn.Dropout(dropout)
        self.Conv_1 = _conv(out, out, 3)
        nn.init.zeros_(self.Conv_1.weight)
        self.Conv_2 = _conv(into, out, 1) if into != out or resample != "no" else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, into, H, W), (B, emb) -> (B, out, H', W')."""
        h = F.silu(self.GroupNorm_0(x))
        if self.resample == "up":
            h, x = doubled(h, self.fir), doubled(x, self.fir)
        elif self.resample == "down":
            h, x = halved(h, self.fir), halved(x, self.fir)
        h = self.Conv_0(h) + self.Dense_0(F.silu(time))[:, :, None, None]
        h = self.Conv_1(self.Dropout_0(F.silu(self.GroupNorm_1(h))))
        return ((x if self.Conv_2 is None else self.Conv_2(x)) + h) / math.sqrt(2)


class Downsample(nn.Module):
    """Filter (or not), then a strided convolution: how the picture enters a lower level."""

    def __init__(self, into: int, out: int, fir: bool) -> None:
        super().__init__()
        conv = _conv(into, out, 3)
        self.fir = fir
        if fir:
            self.Conv2d_0 = conv
        else:
            self.Conv_0 = conv

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) -> (B, out, H/2, W/2)."""
        if self.fir:
            conv = self.Conv2d_0
            return F.conv2d(filtered(x, 1.0, 2), conv.weight, conv.bias, stride=2)
        conv = self.Conv_0
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias, stride=2)


def _conv(into: int, out: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(into, out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]
    return conv
