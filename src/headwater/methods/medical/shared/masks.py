"""Sampling patterns: which coefficients of a centred k-space are measured, and how many that is.

The families and their densities are Score-MRI's (Chung & Ye 2022, sec. 4). Its code draws a fixed number of
positions with replacement, so that its "4x" keeps between 1/4.1 and 1/7.5 of k-space; here draws go on until
the share asked for is measured, the calibration region included. `acceleration` says what a mask really is.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from headwater.errors import need
from headwater.noise import derive

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
    masks = [_one(family, fixed, wanted, np.random.default_rng(derive(seed, i))) for i in range(n)]
    return torch.stack(masks)[:, None]


def acceleration(mask: Tensor) -> Tensor:
    """Points of k-space per measured point, (B,), of masks (B, 1, H, W)."""
    return mask[0].numel() / mask.flatten(1).sum(1)


def calibration_block(height: int, width: int, share: float, lines: bool) -> Tensor:
    """The block of `share` around the origin, bool (H, W); with `lines` it has full height."""
    block = torch.zeros(height, width, dtype=torch.bool)
    rows, columns = (height, int(width * share)) if lines else (int(height * share), int(width * share))
    top, left = height // 2 - rows // 2, width // 2 - columns // 2
    block[top : top + rows, left : left + columns] = True
    return block


def mark(mask: Tensor, *positions: Tensor) -> Tensor:
    """The mask (H, W) with the points of the given positions (one tensor per axis, or columns alone) set.

    Fractions are cut off and what lies outside goes to the edge, as in the reference.
    """
    marked, size = mask.clone(), mask.shape[-len(positions) :]
    index = tuple(p.to(torch.int64).clamp(0, n - 1) for p, n in zip(positions, size, strict=True))
    marked[(..., *index)] = True
    return marked


def _one(family: Family, fixed: Tensor, wanted: int, draw: np.random.Generator) -> Tensor:
    if family == "poisson":
        return _apart(fixed, wanted, draw)
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


def _apart(fixed: Tensor, wanted: int, draw: np.random.Generator) -> Tensor:
    """Points in random order, each kept unless a kept one is too near; the distance is found by halving."""
    low, high, best = 0.0, float(max(fixed.shape)), fixed
    order = draw.permutation(fixed.numel())
    for _ in range(12):
        reach = (low + high) / 2
        found = _thrown(fixed.numpy(), order, reach, wanted)
        low, high, best = (reach, high, found) if found.sum() >= wanted else (low, reach, best)
    # The last distance that gave enough gave exactly as many as wanted: throwing stops there.
    return torch.from_numpy(np.asarray(best))


def _thrown(fixed: np.ndarray, order: np.ndarray, reach: float, wanted: int) -> np.ndarray:
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
