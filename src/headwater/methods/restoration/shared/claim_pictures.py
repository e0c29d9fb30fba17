"""What the claims of restoration are tested on: held-out pictures, made small and noisy."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.data import load
from headwater.operators import resizing

FACTOR, SIDE = 4, 32


def held_out(n: int, seed: int, name: str = "emoji", side: int = SIDE) -> Tensor:
    """n held-out pictures of a shipped set (n, 3, side, side).

    They are others for every seed from 0 to 2 as long as the set holds 3 n of them.
    """
    images = load(name, "test", side).images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order.roll(-n * seed)[:n]]


def noisy(y: Tensor, std: float, seed: int) -> Tensor:
    """y with white noise of this standard deviation."""
    return y + std * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))


def enlarged(y: Tensor) -> Tensor:
    """Small pictures brought back to size by bicubic interpolation, in [-1, 1]."""
    rows = resizing(y.shape[-1], SIDE).to(y)
    return (rows @ y @ rows.T).clamp(-1, 1)
