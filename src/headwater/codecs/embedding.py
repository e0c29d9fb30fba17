"""What a prior's process works on, and what people give and get: the sixth part of a prior.

A codec turns data into the real arrays that a process noises, and back. Pictures are their own arrays;
tokens become vectors of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from headwater.core.transition import NoiseSource

_BLOCK = 2**24
"""Distances held at once by `Embedding.nearest`: 64 MB in float32."""


class Codec(Protocol):
    """data (B, ...) <-> x_0 (B, ...), the clean level of a process."""

    def encode(self, data: Tensor, noise: NoiseSource | None = None) -> Tensor:
        """x_0 of data; a random one where the codec has a variance and a noise source is given."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """The likeliest data behind x_0."""
        ...


@dataclass(frozen=True)
class Identity:
    """Data that is its own x_0."""

    def encode(self, data: Tensor, noise: NoiseSource | None = None) -> Tensor:
        return data

    def decode(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, eq=False)
class Embedding:
    """Token ids <-> vectors: q(x_0 | w) = N(table[w], std^2), p(w | x_0) = softmax(head x_0 + bias).

    Diffusion-LM (Li et al. 2022, sec. 4.2). ids are int64 (B, ..), x is (B, .., d).
    table: (V, d), trained through `encode` and `logits` if it asks for gradients. bias: (V,) or None.
    head: (V, d), the table itself by default.
    """

    table: Tensor
    bias: Tensor | None = None
    std: float = 0.0
    head: Tensor | None = None

    def encode(self, data: Tensor, noise: NoiseSource | None = None) -> Tensor:
        """Vectors of ids, (B, .., d), with noise of `std` if a source is given."""
        x = torch.nn.functional.embedding(data, self.table)
        return x if noise is None else x + self.std * noise(x, 0)

    def logits(self, x: Tensor) -> Tensor:
        """log p(w | x_0) up to a constant, (B, .., V)."""
        return torch.nn.functional.linear(x, self.table if self.head is None else self.head, self.bias)

    def nats(self, x: Tensor, ids: Tensor) -> Tensor:
        """-log p(w | x_0) of ids at x, (B, ..)."""
        logits = self.logits(x).flatten(0, -2)
        return torch.nn.functional.cross_entropy(logits, ids.flatten(), reduction="none").view_as(ids)

    def decode(self, x: Tensor) -> Tensor:
        """The likeliest ids, (B, ..)."""
        return self.logits(x).argmax(-1)

    def nearest(self, x: Tensor) -> Tensor:
        """ids of the nearest table rows in Euclidean distance, (B, ..).

        Not `decode`: the two agree only where all rows are equally long and the bias is constant.
        """
        half = self.table.square().sum(1) / 2
        parts = torch.split(x.flatten(0, -2), max(1, _BLOCK // len(self.table)))
        found = [torch.addmm(half, part, self.table.T, alpha=-1).argmin(1) for part in parts]
        return torch.cat(found).reshape(x.shape[:-1])
