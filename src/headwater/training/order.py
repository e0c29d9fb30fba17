"""In which order items are learnt from: shuffled epochs that follow each other without a gap."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from headwater.noise import derive

_ORDER = 1
"""Purpose of the seed; the other uses of a training's seed are numbered from 2, in feed.py."""


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, n: int) -> list[int]:
    """A permutation of 0 .. n-1 for each epoch."""
    generator = torch.Generator().manual_seed(derive(seed, _ORDER, epoch))
    return torch.randperm(n, generator=generator).tolist()


def batch_rows(seed: int, n: int, batch: int, step: int) -> Tensor:
    """Rows (batch,) int64 of update `step` (0-based) among n items."""
    where = (divmod(step * batch + j, n) for j in range(batch))
    return torch.tensor([order(seed, epoch, n)[place] for epoch, place in where])
