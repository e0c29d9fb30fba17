"""An n-gram model of characters with proper smoothing: the baseline of every model of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class NGram:
    """Interpolated Witten-Bell smoothing (Witten & Bell 1991; Chen & Goodman 1999, eq. 15).

        p(c | h) = (n(h c) + u(h) p(c | h')) / (n(h) + u(h))

    h' drops the oldest character of the context h, n counts, u(h) is how many different characters followed
    h; at the empty context p is mixed with 1 / K. order: the longest context plus one.
    """

    K: int
    order: int
    grams: tuple[tuple[Ids, Ids], ...]
    """For each length 1 .. order, sorted codes of the sequences seen and how often each was."""
    contexts: tuple[tuple[Ids, Ids, Ids], ...]
    """For each context length 0 .. order - 1: sorted codes, counts, and different followers."""

    @classmethod
    def fit(cls, stream: Ids, K: int, order: int) -> NGram:
        """Count a stream (N,) of ids below K. Raises ValueError if order is below 1 or codes overflow."""
        if order < 1 or K < 1 or order * np.log2(K + 1) > 62:
            raise ValueError(
                f"an order of {order} over {K} characters cannot be counted: choose a lower order"
            )
        grams, contexts = [], []
        for n in range(1, order + 1):
            codes, counts = np.unique(_codes(stream, K, n), return_counts=True)
            grams.append((codes, counts))
            before, first = np.unique(codes // K, return_index=True)
            kinds = np.diff(np.append(first, len(codes)))
            contexts.append((before, np.add.reduceat(counts, first), kinds))
        return cls(K, order, tuple(grams), tuple(contexts))

    def bits(self, windows: Ids) -> NDArray[np.float64]:
        """-log2 p of each character of windows (B, L) given those before it in its window, (B, L)."""
        found = np.empty(windows.shape)
        for i in range(windows.shape[1]):
            p = np.full(len(windows), 1 / self.K)
            for n in range(1, min(i + 1, self.order) + 1):
                p = self._sharpened(p, windows[:, i + 1 - n : i + 1], n)
            found[:, i] = -np.log2(p)
        return found

    def _sharpened(self, p: NDArray[np.float64], part: Ids, n: int) -> NDArray[np.float64]:
        code = _codes(part.reshape(-1), self.K, n)[::n] if n > 1 else part[:, 0]
        seen = _found(self.grams[n - 1], code)[0]
        total, kinds = _found(self.contexts[n - 1], code // self.K)
        return np.where(total > 0, (seen + kinds * p) / np.maximum(total + kinds, 1), p)


def best_order(stream: Ids, held_out: Ids, K: int, orders: Sequence[int] = range(2, 9)) -> NGram:
    """The order with the fewest bits on held-out windows (B, L), which should not be the test set."""
    largest = NGram.fit(stream, K, max(orders))  # a lower order uses the first of its tables
    models = [replace(largest, order=n) for n in orders]
    return min(models, key=lambda model: float(model.bits(held_out).mean()))


def _codes(stream: Ids, K: int, n: int) -> Ids:
    """A number for each run of n ids, the oldest being the most significant: (N - n + 1,)."""
    total = np.zeros(len(stream) - n + 1, dtype=np.int64)
    for i in range(n):
        total = total * K + stream[i : len(stream) - n + 1 + i]
    return total


def _found(table: tuple[Ids, ...], codes: Ids) -> tuple[Ids, ...]:
    """The table's columns at some codes, 0 where it has none."""
    keys, *columns = table
    place = np.searchsorted(keys, codes).clip(max=len(keys) - 1)
    there = keys[place] == codes
    return tuple(np.where(there, column[place], 0) for column in columns)
