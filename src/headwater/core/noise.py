"""Noise laws: where every random field of a forward or reverse process comes from.

A law says how a field is distributed; a `Stream` adds one generator per sample. Row i of whatever a
law draws depends on generator i alone, so a sample's result is bit-identical whatever its batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def derive(*key: int) -> int:
    """One well-mixed 63-bit seed for a tuple of integers: a pure function of the tuple.

    Training draws the noise of sample i at step k from `derive(seed, k, i)`. Tuples of different
    lengths are unrelated too: `derive(1)` tells nothing about `derive(1, 0)`. Integers of any sign
    count modulo 2^128. Mixing function: splitmix64 (Steele, Lea, Flood 2014).
    """
    state = len(key)
    for part in key:
        # 64 bits at a time, so that integers beyond one word still count in full.
        for word in (part & _MASK, (part >> 64) & _MASK):
            state = (state + word + 0x9E3779B97F4A7C15) & _MASK
            state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
            state ^= state >> 31
    return state >> 1


def seeds(seed: int, *key: int, n: int) -> list[int]:
    """Seeds of samples 0 .. n-1: `[derive(seed, *key, i) for i in range(n)]`.

    Sample i's seed does not depend on n. For other sample indices call `derive` itself.
    """
    return [derive(seed, *key, i) for i in range(n)]


class Noise(ABC):
    """A law of random fields, usually a frozen dataclass of its parameters."""

    @abstractmethod
    def draw(
        self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0
    ) -> Tensor:
        """One field per sample, with the shape, dtype and device of `like`.

        like: (B, ...) floating or complex; a complex one gets independent real and imaginary
            parts, each with the law's own variance.
        generators: B CPU generators, advanced in place.
        level: the process level t, one or (B,); laws without a level axis ignore it.
        Raises ValueError when there are not B generators or the law cannot fill this shape or dtype.
        """

    def stream(self, seeds: Sequence[int]) -> Stream:
        """This law with one fresh generator per seed."""
        return Stream(self, seeds)


@final
class Stream:
    """A law and one generator per sample: successive calls give successive, independent fields.

    `stream(like, level)` is `law.draw`; ValueError unless the batch of `like` is the number of seeds.
    """

    __slots__ = ("generators", "law")

    def __init__(self, law: Noise, seeds: Sequence[int]) -> None:
        self.law = law
        self.generators = tuple(torch.Generator().manual_seed(seed) for seed in seeds)

    def __call__(self, like: Tensor, level: int | Tensor = 0) -> Tensor:
        return self.law.draw(like, self.generators, level)

    def uniform(self, like: Tensor) -> Tensor:
        """Independent uniforms on the open interval (0, 1), shaped like the real tensor `like`.

        float64 for a float64 `like`, otherwise float32: half precision would round some draws to 1
        and make a Gumbel draw infinite.
        """
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        out = fill(like.to(dtype), self.generators, _uniform)
        # 0 is the only end that a draw can reach; half the smallest other draw stands in for it.
        return out.clamp_(min=torch.finfo(dtype).eps / 4)


def fill(
    like: Tensor,
    generators: Sequence[torch.Generator],
    draw: Callable[[Tensor, torch.Generator], object],
) -> Tensor:
    """A tensor like `like` whose row i was filled on the CPU by `draw(row, generators[i])`.

    Rows of a complex tensor are handed over as real ones with a last axis of 2.
    """
    if len(generators) != like.shape[0]:
        raise ValueError(_mismatch(like, generators))
    dtype = _working(like.dtype)
    out = torch.empty(like.shape, dtype=dtype)
    target = torch.view_as_real(out) if dtype.is_complex else out
    if len(generators) == 1:
        draw(target, generators[0])
    else:
        for row, generator in zip(target.unbind(0), generators, strict=True):
            draw(row, generator)
    return out if dtype == like.dtype and like.is_cpu else out.to(like.device, like.dtype)


def _mismatch(like: Tensor, generators: Sequence[torch.Generator]) -> str:
    return (
        f"the batch has {like.shape[0]} samples but the noise has {len(generators)} seeds: "
        "give one seed per sample."
    )


def _working(dtype: torch.dtype) -> torch.dtype:
    """The dtype to draw in: the tensor's own, or float32 for half precision."""
    if dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        return dtype
    if dtype.is_complex:
        return torch.complex64
    if dtype.is_floating_point:
        return torch.float32
    raise ValueError(f"noise needs a floating or complex tensor, not {dtype}: convert it first.")


@final
@dataclass(frozen=True)
class White(Noise):
    """Independent standard normal values."""

    def draw(
        self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0
    ) -> Tensor:
        return fill(like, generators, _normal)


def _normal(row: Tensor, generator: torch.Generator) -> None:
    row.normal_(generator=generator)


def _uniform(row: Tensor, generator: torch.Generator) -> None:
    row.uniform_(generator=generator)
