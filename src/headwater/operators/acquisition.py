"""How an MR scan is acquired: sampling patterns of k-space, and simulated receiver coils and phase.

The pattern families and their densities are Score-MRI's (Chung & Ye 2022, sec. 4). Its code draws a fixed
number of positions with replacement, so that its "4x" keeps between 1/4.1 and 1/7.5 of k-space; here draws go
on until the share asked for is measured, the calibration region included.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from headwater.errors import need
from headwater.noise import derive
from headwater.operators.calibration import centred, sum_of_squares

Family = Literal["gaussian1d", "uniform1d", "gaussian2d", "uniform2d", "poisson"]
FAMILIES: tuple[Family, ...] = get_args(Family)


def sampling(
    family: Family,
    n: int,
    height: int,
    width: int,
    accelerate: float = 4.0,
    centre: float = 0.08,
    seed: int = 0,
) -> Tensor:
    """n masks, bool (n, 1, H, W), True = measured, the origin of k-space at (H // 2, W // 2).

    family: whole columns (`1d`) or single points (`2d`, `poisson`), of Gaussian or even density; `poisson`
        keeps points apart, the farther from the centre the more.
    accelerate: size of k-space over what is measured. centre: share of the width (for points, of both
        sides) of the fully measured block around the origin.
    Mask i is a function of seed and i. Raises UserError when the centre alone is more than what may be
    measured.
    """
    need(family in FAMILIES, f"no mask family {family!r}: choose one of {', '.join(FAMILIES)}")
    need(accelerate >= 1 and 0 <= centre <= 1, "accelerate is 1 or more, centre a share between 0 and 1")
    fixed = calibration_block(height, width, centre, lines=family.endswith("1d"))
    wanted = round(height * width / accelerate)
    if family.endswith("1d"):
        wanted = max(1, round(width / accelerate)) * height
    need(
        int(fixed.sum()) <= wanted,
        f"the centre alone is {int(fixed.sum())} of {wanted} points: give a smaller centre or acceleration",
    )
    masks = [_pattern(family, fixed, wanted, np.random.default_rng(derive(seed, i))) for i in range(n)]
    return torch.stack(masks)[:, None]


def acceleration(mask: Tensor) -> Tensor:
    """Points of k-space per measured point, (B,), of masks (B, 1, H, W)."""
    return mask[0].numel() / mask.flatten(1).sum(1)


def calibration_block(height: int, width: int, share: float, lines: bool) -> Tensor:
    """The block of `share` around the origin, bool (H, W); with `lines` it has full height."""
    block = torch.zeros(height, width, dtype=torch.bool)
    rows, columns = (height, int(width * share)) if lines else (int(height * share), int(width * share))
    block[centred(height, rows), centred(width, columns)] = True
    return block


def mark(mask: Tensor, *positions: Tensor) -> Tensor:
    """The mask (H, W) with the points of the given positions (one tensor per axis, or columns alone) set.

    Fractions are cut off and what lies outside goes to the edge, as in the reference.
    """
    marked, size = mask.clone(), mask.shape[-len(positions) :]
    index = tuple(p.to(torch.int64).clamp(0, n - 1) for p, n in zip(positions, size, strict=True))
    marked[(..., *index)] = True
    return marked


def _pattern(family: Family, fixed: Tensor, wanted: int, draw: np.random.Generator) -> Tensor:
    if family == "poisson":
        return _poisson_disc(fixed, wanted, draw)
    height, width = fixed.shape
    mask = fixed
    while int(mask.sum()) < wanted:
        # One at a time near the end, in bulk before, so that the count comes out exactly.
        left = (wanted - int(mask.sum())) // (height if family.endswith("1d") else 1)
        n = max(1, left // 2)
        if family == "gaussian1d":
            at = (draw.normal(width // 2, width * 15 / 128, n),)
        elif family == "uniform1d":
            at = (draw.integers(0, width, n),)
        elif family == "gaussian2d":
            sides = np.array([height, width])
            at = tuple((draw.standard_normal((n, 2)) * sides * (1.5 / 128) ** 0.5 + sides // 2).T)
        else:
            at = draw.integers(0, height, n), draw.integers(0, width, n)
        mask = mark(mask, *(torch.from_numpy(np.asarray(p)) for p in at))
    return mask


def _poisson_disc(fixed: Tensor, wanted: int, draw: np.random.Generator) -> Tensor:
    """Points in random order, each kept unless a kept one is too near; the distance is found by halving."""
    low, high, best = 0.0, float(max(fixed.shape)), fixed
    order = draw.permutation(fixed.numel())
    for _ in range(12):
        reach = (low + high) / 2
        found = _throw_darts(fixed.numpy(), order, reach, wanted)
        low, high, best = (reach, high, found) if found.sum() >= wanted else (low, reach, best)
    # The last distance that gave enough gave exactly as many as wanted: throwing stops there.
    return torch.from_numpy(np.asarray(best))


def _throw_darts(fixed: np.ndarray, order: np.ndarray, reach: float, wanted: int) -> np.ndarray:
    height, width = fixed.shape
    y, x = np.mgrid[:height, :width]
    away = np.hypot((y - height // 2) / height, (x - width // 2) / width)
    mask = fixed.copy()
    for y0, x0 in zip(*np.unravel_index(order, fixed.shape), strict=True):
        if mask.sum() >= wanted:
            break
        r = reach * away[y0, x0]
        k = int(r)
        near = mask[max(0, y0 - k) : y0 + k + 1, max(0, x0 - k) : x0 + k + 1]
        ys, xs = np.nonzero(near)
        gap = np.hypot(ys - min(k, y0), xs - min(k, x0))
        if not (gap < r).any():
            mask[y0, x0] = True
    return mask


# Coils and phase


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
