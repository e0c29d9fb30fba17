"""Twice as many pixels a side, each a copy of its nearest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def twice(x: Tensor) -> Tensor:
    """Nearest neighbour x 2: (B, C, H, W) -> (B, C, 2H, 2W), of the same dtype.

    In a compiled network the copies are spelled out. Inductor (torch 2.13, CPU) returns a gradient of zero
    for `interpolate` in front of a convolution in bf16, so that all the layers below would learn nothing.
    """
    if not torch.compiler.is_compiling():
        return F.interpolate(x, scale_factor=2, mode="nearest")
    batch, channels, height, width = x.shape
    copies = x[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return copies.reshape(batch, channels, 2 * height, 2 * width)
