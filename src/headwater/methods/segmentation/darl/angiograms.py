"""Pictures like angiograms whose vessels are known: shipped photographs, behind curves that absorb light.

The curves are no trees: they bend steadily, cross, keep their width and do not split, so that what the method
learns shapes from, `trees`, has other statistics.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.data import load

SIDE = 64


def backgrounds(split: str) -> Tensor:
    """Grey photographs (N, 1, 64, 64) of half the contrast, in an order of no meaning."""
    images = load("photos", split, SIDE).images.mean(1, keepdim=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return 0.2 + 0.5 * images[order]


def angiograms(background: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Backgrounds (N, 1, H, W) in [-1, 1] behind vessels, and where these are, bool (N, 1, H, W).

    Vessel i is a function of the seed and i. It lets exp(-mu d) of the light through where it is d pixels
    thick.
    """
    found, truth = [], []
    for i, one in enumerate(background):
        rng = np.random.default_rng((seed, i))
        thick = _vessels(one.shape[-2:], rng)
        through = torch.from_numpy(np.exp(-rng.uniform(0.15, 0.35) * thick)).float()
        found.append((one + 1) * through - 1)
        truth.append(torch.from_numpy(thick > 0)[None])
    return torch.stack(found), torch.stack(truth)


def noisy(image: Tensor, sigma: float, seed: int) -> Tensor:
    """Pictures with white noise of a standard deviation of sigma / 255 of their range."""
    draws = torch.Generator().manual_seed(seed)
    return image + 2 * sigma / 255 * torch.randn(image.shape, generator=draws)


def _vessels(sides: torch.Size, rng: np.random.Generator) -> NDArray[np.float64]:
    """Thickness in pixels of 2 to 5 round tubes of random bends, where they cross their sum."""
    rows, columns = np.ogrid[: sides[0], : sides[1]]
    thick = np.zeros(tuple(sides))
    for _ in range(int(rng.integers(2, 6))):
        place, angle, turn = rng.uniform(0, 1, 2) * sides, rng.uniform(0, 2 * math.pi), 0.0
        radius, away = rng.uniform(0.8, 2.2), np.full(tuple(sides), np.inf)
        for _ in range(int(rng.uniform(0.5, 1.5) * max(sides))):
            turn = 0.9 * turn + 0.035 * rng.standard_normal()
            angle += turn
            place = place + np.array([math.sin(angle), math.cos(angle)])
            away = np.minimum(away, (rows - place[0]) ** 2 + (columns - place[1]) ** 2)
        thick += 2 * np.sqrt(np.clip(radius**2 - away, 0, None))
    return thick
