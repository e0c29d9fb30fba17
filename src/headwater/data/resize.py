"""Area averaging for pictures and its counterpart for label maps, majority vote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_Labels = np.ndarray[Any, np.dtype[Any]]
_AT_ONCE = 1 << 24
"""Pixels of a mask that are turned into floats at once."""
_STRIP = 1 << 20
"""Pixels of label maps that are counted at once."""
_BINS = 1 << 22
"""Most counters; with more kinds of labels they are sorted."""
_SPAN = 1 << 20
"""Largest difference of labels that are numbered by a table."""


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

    A tie goes to the larger label, so that thin structures should be numbered last. The time that it takes
    does not depend on how many labels there are.

    Args:
        labels: whole numbers (..., H, W).
        height: target rows, at most H.
        width: target columns, at most W.

    Returns:
        int64 (..., height, width).

    Raises:
        ValueError: if the target is larger than the source or empty.
    """
    h, w = labels.shape[-2:]
    if (h, w) == (height, width):
        return labels
    if not (0 < height <= h and 0 < width <= w):
        raise ValueError(f"a vote only shrinks: ask for at most {h}x{w}, not {height}x{width}")
    planes = labels.reshape(-1, h, w).numpy()
    found = np.stack([_voted(plane, height, width) for plane in planes])
    return torch.from_numpy(found).reshape(*labels.shape[:-2], height, width)


def share(white: Tensor, height: int, width: int) -> Tensor:
    """`area` of a bool mask (H, W), in float64; of a large one without all of it in float64 at once."""
    h, w = white.shape
    if white.numel() <= _AT_ONCE:
        return area(white.double(), height, width)
    rows = _overlap(h, height, torch.empty(0, dtype=torch.float64))
    columns = _overlap(w, width, torch.empty(0, dtype=torch.float64))
    shrunk, step = torch.empty(height, w, dtype=torch.float64), max(1, _STRIP // h)
    for left in range(0, w, step):
        shrunk[:, left : left + step] = rows @ white[:, left : left + step].double()
    return shrunk @ columns.T


def _voted(plane: _Labels, height: int, width: int) -> _Labels:
    """`vote` on one plane (H, W), some target rows at a time."""
    h, w = plane.shape
    rows, columns = _Cut.of(h, height), _Cut.of(w, width)
    step = max(1, _STRIP // (w * -(-h // height)))
    done = np.empty((height, width), np.int64)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        a, b = top * h // height, -(-bottom * h // height)
        values, codes = _numbered(plane[a:b])
        n, cells = len(values), (bottom - top) * width
        keys, weights = [], []
        for row, tall in rows.parts(a, b, top, bottom):
            for column, wide in columns.parts(0, w, 0, width):
                there = np.ix_(tall > 0, wide > 0)
                cell = (row - top)[:, None] * width + column
                keys.append((cell[there] * n + codes[there]).ravel())
                weights.append((tall[:, None] * wide)[there].ravel())
        if cells * n <= _BINS:
            most = sum(np.bincount(k, v, cells * n) for k, v in zip(keys, weights, strict=True))
            winner = n - 1 - np.asarray(most).reshape(cells, n)[:, ::-1].argmax(1)
        else:
            winner = _heaviest(np.concatenate(keys), np.concatenate(weights), n)
        done[top:bottom] = values[winner].reshape(bottom - top, width)
    return done


def _heaviest(keys: _Labels, weights: _Labels, n: int) -> _Labels:
    """Of each cell, in order, the code with the largest sum of weights; a key is cell x n + code."""
    order = np.argsort(keys, kind="stable")
    keys, weights = keys[order], weights[order]
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    keys, sums = keys[first], np.add.reduceat(weights, first)
    order = np.lexsort((keys, sums, keys // n))
    cell = keys[order] // n
    last = np.flatnonzero(np.r_[cell[1:] != cell[:-1], True])
    return keys[order][last] % n


def _numbered(labels: _Labels) -> tuple[_Labels, _Labels]:
    """The values that occur, in rising order, and of each label its place among them, int64."""
    low, span = int(labels.min()), int(labels.max()) - int(labels.min()) + 1
    if span > _SPAN:
        values, codes = np.unique(labels, return_inverse=True)
        return values.astype(np.int64), codes.reshape(labels.shape)
    places = labels.astype(np.int64) - low
    there = np.zeros(span, bool)
    there[places.ravel()] = True
    return np.flatnonzero(there) + low, (there.cumsum() - 1)[places]


@dataclass(frozen=True)
class _Cut:
    """How source pixels lie over target pixels along one axis; lengths are whole numbers, parts of a pixel.

    A source pixel covers one target pixel or two: `first` is the one, `over` what lies in it, and what is
    left of `whole` lies in the next one.
    """

    first: _Labels
    over: _Labels
    whole: int

    @classmethod
    def of(cls, source: int, target: int) -> _Cut:
        start = np.arange(source, dtype=np.int64) * target
        first = start // source
        return cls(first, np.minimum((first + 1) * source - start, target), target)

    def parts(self, a: int, b: int, top: int, bottom: int) -> Iterator[tuple[_Labels, _Labels]]:
        """Of the source pixels a .. b - 1, the target pixels and how much lies in those of top .. bottom - 1:
        once for the first ones, once for the second ones."""
        for target, length in (
            (self.first[a:b], self.over[a:b]),
            (self.first[a:b] + 1, self.whole - self.over[a:b]),
        ):
            yield target, np.where((target >= top) & (target < bottom), length, 0)


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
