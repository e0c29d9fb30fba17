"""What one reverse step draws from. A sampler returns it; only `reverse` draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

Level = int | Tensor
"""A level 0..T: one int for the whole batch, or an int64 tensor (B,) with one per sample."""

Coefficient = float | Tensor
"""A level's number: a float for one level, (B,) float64 for one per sample; see `fit`."""

NoiseSource = Callable[[Tensor, Level], Tensor]
"""(like, level) -> fresh noise of like's shape, dtype and device; see `headwater.noise.laws`."""


class AmbientNoise:
    """White noise from torch's global generator, for training and for walks that need not be repeatable."""

    def __call__(self, like: Tensor, level: Level = 0) -> Tensor:
        return torch.randn_like(like)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniforms on (0, 1), shaped like the real tensor `like`."""
        kind = torch.float64 if like.dtype == torch.float64 else torch.float32
        return torch.rand(like.shape, dtype=kind, device=like.device).clamp(min=torch.finfo(kind).tiny)


class Transition(Protocol):
    """A distribution over x_s given x_t."""

    def sample(self, noise: NoiseSource, level: Level = 0) -> Tensor:
        """One draw, from the given source."""
        ...

    def shift(self, delta: Tensor) -> Self:
        """The same distribution, moved by `delta` (guidance)."""
        ...


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, std^2), independent per element. `std` broadcasts against `mean`."""

    mean: Tensor
    std: Coefficient

    def sample(self, noise: NoiseSource, level: Level = 0) -> Tensor:
        if not isinstance(self.std, Tensor) and self.std == 0:  # a deterministic step asks for no noise
            return self.mean
        return self.mean + self.std * noise(self.mean, level)

    def shift(self, delta: Tensor) -> Gaussian:
        return replace(self, mean=self.mean + delta)


@dataclass(frozen=True, eq=False)
class LangevinMove:
    """x + a score + sqrt(2 a) z with a = 2 scale (snr |z| / |score|)^2 (Song et al. 2021, Alg. 4, 5).

    The step length depends on the drawn z, so this is no Gaussian. Norms are taken per `sample`, of each
    `part` of a complex sample (real and imaginary then move by lengths of their own, as in Score-MRI), or
    averaged over the `batch` as the reference does (then samples depend on their neighbours).
    """

    x: Tensor
    score: Tensor
    snr: float
    scale: Coefficient
    norms: Literal["sample", "part", "batch"] = "sample"

    def _length(self, z: Tensor, score: Tensor) -> Tensor:
        norms = [v.abs().square().flatten(1).sum(1).sqrt() for v in (z, score)]
        if self.norms == "batch":
            norms = [v.mean(0, keepdim=True) for v in norms]
        ratio = (self.snr * norms[0] / norms[1]).reshape(-1, *[1] * (z.ndim - 1))
        return 2 * self.scale * ratio.square()

    def _moved(self, x: Tensor, score: Tensor, z: Tensor) -> Tensor:
        a = self._length(z, score)
        return x + a * score + (2 * a).sqrt() * z

    def sample(self, noise: NoiseSource, level: Level = 0) -> Tensor:
        x, score, z = self.x, self.score, noise(self.x, level)
        if self.norms == "part" and x.is_complex():
            real = self._moved(x.real, score.real, z.real)
            return torch.complex(real, self._moved(x.imag, score.imag, z.imag))
        return self._moved(x, score, z)

    def shift(self, delta: Tensor) -> LangevinMove:
        return replace(self, x=self.x + delta)


def uniform_of(noise: NoiseSource) -> Callable[[Tensor], Tensor]:
    """The uniform (0, 1) draws that go with a noise source. Raises TypeError if it has none."""
    draw = getattr(noise, "uniform", None)
    if draw is None:
        raise TypeError("a discrete process needs a noise source with uniform draws: use a Stream")
    return draw


def fit(coefficient: Coefficient, x: Tensor) -> Coefficient:
    """Shape a coefficient so that it multiplies x (B, ...) in x's own precision."""
    if not isinstance(coefficient, Tensor):
        return coefficient  # a plain number does not promote x, and costs no kernel
    kind = torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32
    return coefficient.to(x.device, kind).reshape(-1, *[1] * (x.ndim - 1))


def root(value: Coefficient) -> Coefficient:
    """Square root of a variance that rounding may have left slightly below zero."""
    return value.clamp(min=0).sqrt() if isinstance(value, Tensor) else math.sqrt(max(value, 0.0))


def log(value: Coefficient) -> Coefficient:
    """Natural logarithm; -inf at zero."""
    if isinstance(value, Tensor):
        return value.log()
    return math.log(value) if value > 0 else -math.inf
