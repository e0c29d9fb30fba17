"""Clusters of points."""

from __future__ import annotations

import torch
from torch import Tensor


def kmeans(points: Tensor, k: int, generator: torch.Generator, rounds: int = 50) -> Tensor:
    """Clusters of points (N, D), int64 (N,): k-means++ seeding, then Lloyd's rounds until nothing moves.

    Numbered by size, the largest 0. Source: Arthur and Vassilvitskii 2007.
    """
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    for _ in range(k - 1):
        near = torch.cdist(points, centres).amin(1).square()
        if not near.any():
            break
        centres = torch.cat([centres, points[torch.multinomial(near, 1, generator=generator)]])
    cluster = torch.full((len(points),), -1)
    for _ in range(rounds):
        before, cluster = cluster, torch.cdist(points, centres).argmin(1)
        if torch.equal(before, cluster):
            break
        sums = torch.zeros_like(centres).index_add_(0, cluster, points)
        counts = cluster.bincount(minlength=len(centres))[:, None]
        # A centre that lost all its points stays where it is.
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    order = cluster.bincount(minlength=len(centres)).argsort(descending=True, stable=True)
    return order.argsort()[cluster]
