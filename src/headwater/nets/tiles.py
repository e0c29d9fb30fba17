"""Pictures larger than a network has learnt, tile by tile, blended where tiles overlap.

At one timestep what a denoiser answers and its estimate of the clean picture differ by the same affine map
for every tile, so the weighted mean of answers is the picture that all tiles together are nearest to, the
fusion of MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113, eq. 5), in every step of any sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from headwater.errors import need

Place = tuple[slice, slice]
"""Rows and columns of a tile."""


def places(size: Sequence[int], tile: Sequence[int], overlap: float) -> list[Place]:
    """Tiles (h, w) that cover a picture (H, W), evenly, overlapping by that share of a side or more.

    A side that is smaller than the tile's has one place, of its own length.
    """
    need(0 <= overlap < 1, f"overlap is {overlap}: give a share from 0 to below 1")

    def along(whole: int, part: int) -> list[slice]:
        part = min(part, whole)
        step = max(1, int(part * (1 - overlap)))
        gaps = -(-(whole - part) // step)
        firsts = [round(k * (whole - part) / max(gaps, 1)) for k in range(gaps + 1)]
        return [slice(first, first + part) for first in firsts]

    rows, columns = (along(whole, part) for whole, part in zip(size, tile, strict=True))
    return [(down, across) for down in rows for across in columns]


def tent(place: Place, like: Tensor) -> Tensor:
    """Weights (h, w) of a tile in a blend: those in the middle count most, and all count."""
    sides = [s.stop - s.start for s in place]
    down, across = (1 - (torch.arange(n) + 0.5 - n / 2).abs() / (n / 2 + 1) for n in sides)
    return (down[:, None] * across).to(like)


class Tiled(nn.Module):
    """A network of pictures (C, h, w) that answers for larger ones, from tiles of that size.

    Pictures among the conditions are cut alike. It takes as many calls of the network as there are tiles, and
    the memory of one, unless gradients are kept.
    """

    def __init__(self, network: nn.Module, tile: tuple[int, int], overlap: float) -> None:
        super().__init__()
        self.network, self.tile, self.overlap = network, tile, overlap

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, C, H, W) of any size from the tile's on, label (B,)."""
        size = x.shape[-2:]

        def cut(value: Any, place: Place) -> Any:
            is_picture = isinstance(value, Tensor) and value.ndim > 2 and value.shape[-2:] == size
            return value[..., place[0], place[1]] if is_picture else value

        total: Any = 0.0
        weight: Any = 0.0
        for place in places(size, self.tile, self.overlap):
            out = self.network(cut(x, place), label, **{k: cut(v, place) for k, v in cond.items()})
            window = tent(place, out)
            margin = _around(place, size)
            total = total + nn.functional.pad(window * out, margin)
            weight = weight + nn.functional.pad(window, margin)
        return total / weight


def _around(place: Place, size: Sequence[int]) -> tuple[int, int, int, int]:
    """What is left of a picture left, right, above and below of a tile."""
    (rows, columns), (height, width) = place, size
    return columns.start, width - columns.stop, rows.start, height - rows.stop
