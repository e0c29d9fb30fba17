"""Feature vectors of single pixels, looked up in maps of any resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class PixelFeatures:
    """Looks feature vectors of single pixels up in maps, without resizing any map.

    maps: (N, C, h, w) each, in half precision if need be; size: (H, W) of the label maps. Answers are float32
    at least. Memory: the maps themselves where they are channels last, else a copy.
    """

    def __init__(self, maps: Sequence[Tensor], size: tuple[int, int]) -> None:
        self.size, self.dim = size, sum(m.shape[1] for m in maps)
        self.dtype = torch.promote_types(maps[0].dtype, torch.float32)
        self.maps = [((m.shape[2], m.shape[3]), m.permute(0, 2, 3, 1).flatten(0, 2)) for m in maps]
        self.axes = {(h, w): (_taps(h, size[0]), _taps(w, size[1])) for (h, w), _ in self.maps}

    def __call__(self, pixel: Tensor) -> Tensor:
        """Pixel numbers ((n H + y) W + x), any shape (...), to features (..., D)."""
        height, width = self.size
        n, y, x = pixel // (height * width), pixel // width % height, pixel % width
        found = []
        for (h, w), rows in self.maps:
            (top, bottom, down), (left, right, over) = (
                [v[i] for v in axis] for axis, i in zip(self.axes[h, w], (y, x), strict=True)
            )
            if (h, w) == self.size:
                found.append(rows[pixel].to(self.dtype))
                continue
            down, over = (v[..., None].to(rows.device, self.dtype) for v in (down, over))
            corners = [rows[(n * h + i) * w + j].to(self.dtype) for i in (top, bottom) for j in (left, right)]
            above, below = (torch.lerp(corners[i], corners[i + 1], over) for i in (0, 2))
            found.append(torch.lerp(above, below, down))
        return torch.cat(found, dim=-1)


def _taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Per target index: both source indices and the weight of the second, (target,) each."""
    place = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(min=0)
    low = place.long()
    return low, (low + 1).clamp(max=source - 1), place - low
