"""Area averaging for pictures and its counterpart for label maps, majority vote."""

from __future__ import annotations

import torch
from torch import Tensor


def area(images: Tensor, height: int, width: int) -> Tensor:
    """Average the source area under every target pixel.

    Args:
        images: float (..., H, W), any range.
        height: target rows, at most H.
        width: target columns, at most W.

    Returns:
        (..., height, width); the mean over a picture is preserved.

    Raises:
        ValueError: if the target is larger than the source or empty.
    """
    h, w = images.shape[-2:]
    if not (0 < height <= h and 0 < width <= w):
        raise ValueError(f"area averaging only shrinks: ask for at most {h}x{w}, not {height}x{width}")
    if (h, w) == (height, width):
        return images
    rows, columns = _overlap(h, height, images), _overlap(w, width, images)
    return rows @ images @ columns.T


def vote(labels: Tensor, height: int, width: int) -> Tensor:
    """Give every target pixel the label that covers most of its area.

    A tie goes to the larger label, so that thin structures should be numbered last.

    Args:
        labels: int64 (..., H, W), non-negative.
        height: target rows, at most H.
        width: target columns, at most W.

    Returns:
        int64 (..., height, width).

    Raises:
        ValueError: if the target is larger than the source or empty.
    """
    if labels.shape[-2:] == (height, width):
        return labels
    best = torch.full((*labels.shape[:-2], height, width), -1.0, dtype=torch.float64)
    result = torch.zeros(best.shape, dtype=torch.int64)
    for label in range(int(labels.max()) + 1):
        share = area((labels == label).double(), height, width)
        # The margin keeps rounding from deciding ties.
        wins = share >= best - 1e-9
        best = torch.where(wins, share, best)
        result[wins] = label
    return result


def nearest(grid: Tensor, height: int, width: int) -> Tensor:
    """Give every target pixel (height, width) the value of the source pixel (H, W) under its middle."""
    rows = ((torch.arange(height) + 0.5) * grid.shape[0] / height).long()
    columns = ((torch.arange(width) + 0.5) * grid.shape[1] / width).long()
    return grid[rows][:, columns]


def _overlap(source: int, target: int, like: Tensor) -> Tensor:
    """Row i holds the share of each source pixel in target pixel i; rows sum to one."""
    edges = torch.arange(target + 1, dtype=torch.float64) * source / target
    left = torch.arange(source, dtype=torch.float64)
    high = torch.minimum(edges[1:, None], left[None] + 1)
    low = torch.maximum(edges[:-1, None], left[None])
    share = (high - low).clamp(min=0) * target / source
    return share.to(like)
