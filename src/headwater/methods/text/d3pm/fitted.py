"""A fitted D3PM of texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from headwater.core.schedule import betas, reciprocal
from headwater.data.characters import Characters
from headwater.discrete import Discrete, DiscreteDenoiser, Mixture, absorbing, information, uniform
from headwater.discrete.matrix_powers import nearest_neighbour, neighbour_rate
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.text_transformer import TextTransformer, TextTransformerConfig

Chain = Literal["absorbing", "uniform", "nearest"]
Schedule = Literal["cosine", "information"]


@dataclass(frozen=True)
class D3PMConfig:
    """Sizes, vocabulary and chain of a `FittedD3PM`."""

    network: TextTransformerConfig
    characters: Characters
    pairs: tuple[tuple[int, ...], ...]
    """V x V: how often a character follows another in the training texts."""
    chain: Chain = "absorbing"
    T: int = 1000
    schedule: Schedule = "cosine"
    mixture: Mixture = "paper"
    neighbours: int = 5

    def __post_init__(self) -> None:
        V = len(self.characters)
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS} timesteps")
        need(self.neighbours >= 1, "neighbours is 1 or more")
        need(len(self.pairs) == V == len({*self.characters.symbols}), "each character counts once")
        need(all(len(row) == V for row in self.pairs), f"pairs has not {V} rows and columns")
        K = V + (self.chain == "absorbing")
        need(self.network.K == K, f"the network has {self.network.K} categories where {K} are needed")


@dataclass(frozen=True, eq=False)
class FittedD3PM(Pretrained):
    """What `D3PM.fit` returns."""

    network: TextTransformer
    config: D3PMConfig

    kind = "d3pm"

    @classmethod
    def networks(cls, config: D3PMConfig) -> Parts:
        return {"network": TextTransformer(config.network)}

    @cached_property
    def process(self) -> Discrete:
        """The chain over V characters, and a mask behind them if it absorbs."""
        c, V = self.config, len(self.config.characters)
        if c.chain == "absorbing":
            return absorbing(V + 1, reciprocal(c.T), mask=V, mixture=c.mixture)
        pairs = torch.tensor(c.pairs)
        shares = pairs.sum(1).double() / pairs.sum()
        if c.chain == "nearest":
            rate = neighbour_rate(contexts(pairs), min(c.neighbours, V - 1))
            exponents = information.exponents(c.T, shares, lambda a: torch.linalg.matrix_exp(a * rate))
            return nearest_neighbour(rate, exponents, c.mixture)
        if c.schedule == "cosine":
            return uniform(V, betas("cosine_unsquared", c.T), c.mixture)
        even, eye = torch.full((V, V), 1 / V, dtype=torch.float64), torch.eye(V, dtype=torch.float64)
        exponents = information.exponents(c.T, shares, lambda a: even + (-a).exp() * (eye - even))
        return uniform(V, information.betas(exponents), c.mixture)

    def mixed(self, mixture: Mixture) -> FittedD3PM:
        """The same with another mixture over clean characters."""
        return replace(self, config=replace(self.config, mixture=mixture))

    @property
    def mask(self) -> int | None:
        """The category that no text holds, if there is one."""
        return len(self.config.characters) if self.config.chain == "absorbing" else None

    @property
    def length(self) -> int:
        """Characters in a window."""
        return self.config.network.length

    @cached_property
    def denoiser(self) -> DiscreteDenoiser:
        """The network, which answers logits of clean characters."""
        return DiscreteDenoiser(self.network, self.process, never=self.mask)


def pair_counts(stream: Tensor, size: int) -> Tensor:
    """How often character j follows i in a row of ids (N,): (size, size) int64."""
    return torch.bincount(stream[:-1] * size + stream[1:], minlength=size * size).reshape(size, size)


def contexts(pairs: Tensor) -> Tensor:
    """A vector for each character by the company it keeps, (V, 2 V): square roots of the shares of each
    character behind and before it."""
    counts = pairs.double()
    sides = [side / side.sum(1, keepdim=True).clamp(min=1) for side in (counts, counts.T)]
    return torch.cat(sides, 1).sqrt()
