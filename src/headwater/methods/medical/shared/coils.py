"""Receiver coils and phase: simulated, for claims and tests; sums of squares."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headwater.noise import derive


def simulated_coils(n: int, coils: int, height: int, width: int, seed: int) -> Tensor:
    """n sets of smooth maps, complex64 (n, coils, H, W), with sum of squares 1 at every pixel.

    Coils sit on a circle around the field of view, turned by a random angle; each is bright near its own
    place and has its own offset and slope of phase. Set i is a function of seed and i.
    """
    y, x = _grid(height, width)
    found = []
    for i in range(n):
        draw = torch.Generator().manual_seed(derive(seed, i))
        angle = 2 * math.pi * (torch.arange(coils) / coils + torch.rand(1, generator=draw))
        radius = 1.2 + 0.3 * torch.rand(coils, generator=draw)
        cy, cx = radius * angle.sin(), radius * angle.cos()
        offset, slope_y, slope_x = (torch.randn(3, coils, generator=draw)).unbind(0)
        away = (y - cy[:, None, None]).square() + (x - cx[:, None, None]).square()
        phase = 2 * math.pi * offset[:, None, None]
        phase = phase + 0.5 * (slope_y[:, None, None] * y + slope_x[:, None, None] * x)
        found.append(torch.polar(1 / (0.5 + away), phase))
    maps = torch.stack(found)
    return maps / sum_of_squares(maps)


def simulated_phase(n: int, height: int, width: int, seed: int) -> Tensor:
    """n smooth phase factors, complex64 (n, 1, H, W) of modulus 1: any offset, gentle slopes and bends."""
    y, x = _grid(height, width)
    basis = torch.stack([torch.ones_like(y), y, x, y * x, y * y, x * x])
    strength = torch.tensor([20.0, 0.7, 0.7, 0.5, 0.5, 0.5])
    found = []
    for i in range(n):
        draw = torch.Generator().manual_seed(derive(seed, i))
        angle = torch.einsum("k,khw->hw", strength * torch.randn(6, generator=draw), basis)
        found.append(torch.polar(torch.ones_like(angle), angle))
    return torch.stack(found)[:, None]


def _grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Coordinates -1..1, each (H, W)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return y, x


def sum_of_squares(coil_images: Tensor) -> Tensor:
    """sqrt(sum_c |x_c|^2) over axis 1, (B, 1, H, W), real."""
    return coil_images.abs().square().sum(1, keepdim=True).sqrt()
