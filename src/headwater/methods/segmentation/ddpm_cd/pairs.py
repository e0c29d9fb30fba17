"""Pairs of pictures with known changes: parts of other pictures pasted, in other light and season."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.data import load
from headwater.data.augment import crop


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures of one place."""

    before: Tensor
    """float32 (N, 3, H, W) in [-1, 1], and so is `after`."""
    after: Tensor
    labels: Tensor
    """int64 (N, H, W), 1 where something was pasted into one of the two."""

    def __len__(self) -> int:
        return len(self.labels)


def photo_pairs(split: str, count: int, seed: int, side: int = 32) -> Pairs:
    """Pairs from the shipped photographs and textures of a split. Pair i shows the i-th photograph of a mixed
    order, going round, and depends on the split, the seed and i alone."""
    photos, textures = load("photos", split).images, load("textures", split, side).images
    photos = photos[torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))]
    made = [_pair(photos, textures, i, seed * 1_000_003 + i, side) for i in range(count)]
    before, after, labels = (torch.stack(column) for column in zip(*made, strict=True))
    return Pairs(before, after, labels)


def _pair(photos: Tensor, textures: Tensor, i: int, key: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(key)
    place = crop(photos[i % len(photos)], draws, side)
    dates, changed = [place.clone(), place.clone()], torch.zeros(side, side, dtype=torch.bool)
    for _ in range(_whole(draws, 1, 4)):
        shape, date = _shape(draws, side), _whole(draws, 0, 2)  # it came, or it went
        if _whole(draws, 0, 2):
            thing = crop(photos[_whole(draws, 0, len(photos))], draws, side)
        else:
            grain = textures[_whole(draws, 0, len(textures))] * _between(draws, 0.3, 0.8)
            thing = (grain + 0.6 * torch.randn(3, 1, 1, generator=draws)).clamp(-1, 1)
        dates[date] = torch.where(shape, thing, dates[date])
        changed |= shape
    before, after = (_season(date, draws) for date in dates)
    return before, after, changed.long()


def _shape(draws: torch.Generator, side: int) -> Tensor:
    """An ellipse or a rectangle, turned, bool (side, side)."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    top, left = (_between(draws, 0.15, 0.85) * side for _ in range(2))
    tall, wide = (_between(draws, 0.08, 0.22) * side for _ in range(2))
    angle = _between(draws, 0, math.pi)
    along = ((x - left) * math.cos(angle) + (y - top) * math.sin(angle)) / wide
    across = ((y - top) * math.cos(angle) - (x - left) * math.sin(angle)) / tall
    round_ = _whole(draws, 0, 2)
    return along.square() + across.square() < 1 if round_ else torch.maximum(along.abs(), across.abs()) < 0.9


def _season(image: Tensor, draws: torch.Generator) -> Tensor:
    """Another light, another camera: colours, contrast, sharpness, noise."""
    unit = ((image + 1) / 2).clamp(0, 1).pow(math.exp(_between(draws, -0.5, 0.5)))
    colour = 1 + 0.2 * torch.randn(3, 1, 1, generator=draws)
    unit = (unit * colour * _between(draws, 0.6, 1.1) + _between(draws, -0.05, 0.25)).clamp(0, 1)
    blurred = F.avg_pool2d(F.pad(unit[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
    unit = unit + _between(draws, 0, 0.8) * (blurred - unit)
    unit = unit + _between(draws, 0.01, 0.05) * torch.randn(unit.shape, generator=draws)
    return (unit * 2 - 1).clamp(-1, 1)


def _between(draws: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=draws))


def _whole(draws: torch.Generator, low: int, high: int) -> int:
    """A whole number from low to below high."""
    return int(torch.randint(low, high, (), generator=draws))
