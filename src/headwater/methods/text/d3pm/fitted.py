"""A fitted D3PM of texts and the folder that keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from headwater.core.schedule import betas, reciprocal
from headwater.discrete import Discrete, DiscreteDenoiser, Mixture, absorbing, information, uniform
from headwater.discrete.matrix_powers import nearest_neighbour, neighbour_rate
from headwater.errors import UserError, need
from headwater.methods.text.d3pm.characters import Characters
from headwater.models.saved import load_network, save_network
from headwater.nets.text_transformer import TextTransformer, TextTransformerConfig

Chain = Literal["absorbing", "uniform", "nearest"]
Schedule = Literal["cosine", "information"]

_KIND = "d3pm"
_LONGEST = 100_000
"""Levels that a file may ask for."""


@dataclass(frozen=True, eq=False)
class FittedD3PM:
    """Network, vocabulary and chain: what `D3PM.fit` returns.

    pairs: (V, V) int64, how often a character follows another in the texts learnt from.
    """

    network: TextTransformer
    characters: Characters
    pairs: Tensor
    chain: Chain = "absorbing"
    T: int = 1000
    schedule: Schedule = "cosine"
    mixture: Mixture = "paper"
    neighbours: int = 5

    @classmethod
    def fresh(
        cls, characters: Characters, pairs: Tensor, sizes: dict[str, Any], chain: dict[str, Any], seed: int
    ) -> FittedD3PM:
        """With untrained weights. sizes: fields of `TextTransformerConfig` but K; chain: the fields below
        `pairs`. Raises UserError for sizes that cannot be."""
        need(chain["T"] >= 1, f"T is {chain['T']}: give 1 level or more")
        try:
            config = TextTransformerConfig(len(characters) + (chain["chain"] == "absorbing"), **sizes)
        except ValueError as error:
            raise UserError(str(error)) from None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(TextTransformer(config), characters, pairs, **chain)

    @cached_property
    def process(self) -> Discrete:
        """The chain over V characters, and a mask behind them if it absorbs."""
        V, T = len(self.characters), self.T
        if self.chain == "absorbing":
            return absorbing(V + 1, reciprocal(T), mask=V, mixture=self.mixture)
        law = self.pairs.sum(1).double() / self.pairs.sum()
        if self.chain == "nearest":
            rate = neighbour_rate(contexts(self.pairs), min(self.neighbours, V - 1))
            pace = information.exponents(T, law, lambda a: torch.linalg.matrix_exp(a * rate))
            return nearest_neighbour(rate, pace, self.mixture)
        if self.schedule == "cosine":
            return uniform(V, betas("cosine_unsquared", T), self.mixture)
        even, eye = torch.full((V, V), 1 / V, dtype=torch.float64), torch.eye(V, dtype=torch.float64)
        pace = information.exponents(T, law, lambda a: even + (-a).exp() * (eye - even))
        return uniform(V, information.betas(pace), self.mixture)

    @property
    def mask(self) -> int | None:
        """The category that no text holds, if there is one."""
        return len(self.characters) if self.chain == "absorbing" else None

    @property
    def length(self) -> int:
        """Characters in a window."""
        return self.network.config.length

    @cached_property
    def denoiser(self) -> DiscreteDenoiser:
        return DiscreteDenoiser(self.network, self.process, never=self.mask)

    def save(self, folder: str | Path) -> None:
        """Write weights, sizes and vocabulary, whole or not at all."""
        about = {
            "kind": _KIND,
            "network": asdict(self.network.config),
            "symbols": self.characters.symbols,
            "pairs": self.pairs.tolist(),
            "chain": self.chain,
            "T": self.T,
            "schedule": self.schedule,
            "mixture": self.mixture,
            "neighbours": self.neighbours,
        }
        save_network(folder, self.network, about)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> FittedD3PM:
        """Read what `save` wrote. Raises UserError for a folder that is damaged or another method's."""
        network, about = load_network(folder, _build, _KIND, device)
        symbols, T, near = about.get("symbols"), about.get("T"), about.get("neighbours")
        known = (
            isinstance(network, TextTransformer)
            and isinstance(symbols, str)
            and symbols == "".join(sorted(set(symbols)))
            and type(T) is int
            and 1 <= T <= _LONGEST
            and type(near) is int
            and near >= 1
            and about.get("chain") in ("absorbing", "uniform", "nearest")
            and about.get("schedule") in ("cosine", "information")
            and about.get("mixture") in ("paper", "exact")
        )
        need(known, f"{folder} describes no chain over characters: fit again")
        characters, pairs = Characters(str(symbols)), _counts(about.get("pairs"))
        V = len(characters)
        K = V + (about["chain"] == "absorbing")
        fits = pairs.shape == (V, V) and K == network.config.K  # pyright: ignore[reportAttributeAccessIssue]
        need(fits, f"the vocabulary and the network in {folder} disagree: fit again")
        return cls(network, characters, pairs, about["chain"], T, about["schedule"], about["mixture"], near)  # pyright: ignore[reportArgumentType]


def contexts(pairs: Tensor) -> Tensor:
    """A vector for each character by the company it keeps, (V, 2 V): square roots of the shares of each
    character behind and before it."""
    counts = pairs.double()
    sides = [side / side.sum(1, keepdim=True).clamp(min=1) for side in (counts, counts.T)]
    return torch.cat(sides, 1).sqrt()


def _counts(rows: Any) -> Tensor:
    try:
        return torch.tensor(rows, dtype=torch.int64)
    except (TypeError, ValueError, RuntimeError):
        return torch.empty(0)


def _build(about: dict[str, Any]) -> TextTransformer:
    return TextTransformer(TextTransformerConfig(**about["network"]))
