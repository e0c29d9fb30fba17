"""Masks of branching trees, drawn from options and a seed: what vessels may look like, known to nobody's eye.

They are ours; the paper took those of Ma et al. 2021. A branch goes on with a bend at every step, then
splits in two thinner and shorter ones, until it is too thin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.errors import need
from headwater.noise import Purpose, derive

_STEP = 2.0
"""Pixels between two bends."""


@dataclass(frozen=True)
class Trees:
    """What the trees are like; pixels are those that the network sees."""

    count: int = 1621
    """Number of masks that are drawn."""
    trunks: tuple[int, int] = (1, 3)
    """Least and largest number of trees in a mask."""
    widest: float = 9.0
    """Largest width of a trunk in pixels; trunks are between half as wide and this."""
    thinnest: float = 1.5
    """Width in pixels below which a branch ends."""
    reach: float = 60.0
    """Mean length of a trunk in pixels before it splits."""
    narrows: float = 0.75
    """Width of a branch as a share of the width of the one before it."""
    shortens: float = 0.85
    """Length of a branch as a share of the length of the one before it."""
    spread: float = 35.0
    """Mean angle in degrees by which a branch leaves the direction of the one before it."""
    bend: float = 8.0
    """Standard deviation in degrees of the change of direction at every second pixel."""

    def __post_init__(self) -> None:
        need(self.count >= 1, f"count is {self.count}: draw one mask of trees or more")
        low, high = self.trunks
        need(1 <= low <= high, f"trunks is {low} {high}: give 1 or more, the smaller number first")
        need(
            0 < self.thinnest <= self.widest and self.reach > 0,
            "thinnest, widest and reach are above 0, and thinnest is no more than widest",
        )
        need(
            0 < self.narrows < 1 and 0 < self.shortens <= 1,
            "narrows and shortens are shares below 1: otherwise a tree never ends",
        )

    def draw(self, size: int, seed: int) -> Tensor:
        """All masks (count, 1, size, size) in {-1, 1}; mask i is a function of the options, seed and i."""
        return torch.stack([self._one(size, derive(seed, Purpose.DARL_TREES, i)) for i in range(self.count)])

    def _one(self, size: int, seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        mask = np.zeros((size, size), bool)
        for _ in range(int(rng.integers(self.trunks[0], self.trunks[1] + 1))):
            # From the rim or inside, towards somewhere inside.
            place, goal = rng.uniform(-0.1, 1.1, 2) * size, rng.uniform(0.2, 0.8, 2) * size
            place[int(rng.integers(2))] = rng.choice([-1.0, size])
            angle = float(np.arctan2(*(goal - place)))
            branches = [(place, angle, self.widest * rng.uniform(0.5, 1), self.reach)]
            while branches:
                branches += self._grow(mask, rng, *branches.pop())
        return torch.from_numpy(np.where(mask, 1, -1).astype(np.float32))[None]

    def _grow(
        self, mask: NDArray[np.bool_], rng: np.random.Generator, place: NDArray[np.float64],
        angle: float, width: float, reach: float,
    ) -> list[tuple[NDArray[np.float64], float, float, float]]:  # fmt: skip
        """Draw one branch; returns those that it splits into."""
        ends = width * self.narrows
        for step in range(1, steps := max(1, int(reach * rng.uniform(0.6, 1.4) / _STEP)) + 1):
            there = place + _STEP * np.array([np.sin(angle), np.cos(angle)])
            _line(mask, place, there, width + (ends - width) * step / steps)
            place, angle = there, angle + np.radians(self.bend) * rng.standard_normal()
        if ends < self.thinnest:
            return []
        turn = np.radians(self.spread) * rng.uniform(0.5, 1.5, 2)
        wide = ends * np.array([1.0, rng.uniform(0.7, 1)])
        sides = ((-1, 0), (1, 1)) if rng.random() < 0.5 else ((1, 0), (-1, 1))
        return [(place, angle + s * turn[k], float(wide[k]), reach * self.shortens) for s, k in sides]


def _line(mask: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64], width: float) -> None:
    """Set the pixels (row, column) whose centres lie within half a width of the way from a to b."""
    low = np.floor(np.minimum(a, b) - width).astype(int).clip(0)
    high = np.ceil(np.maximum(a, b) + width).astype(int).clip(0) + 1
    box = mask[low[0] : high[0], low[1] : high[1]]
    if not box.size:
        return
    rows, columns = np.ogrid[low[0] : low[0] + box.shape[0], low[1] : low[1] + box.shape[1]]
    way = b - a
    along = ((rows - a[0]) * way[0] + (columns - a[1]) * way[1]) / max(float(way @ way), 1e-12)
    along = along.clip(0, 1)
    away = (rows - a[0] - along * way[0]) ** 2 + (columns - a[1] - along * way[1]) ** 2
    box |= away <= (width / 2) ** 2
