"""A fitted captioner."""

from __future__ import annotations

import math

import torch

from headwater.core import Diffusion
from headwater.core.schedule import linear


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
