"""Noise laws: where every random field of a forward or reverse process comes from.

A law says how a field is distributed; a `Stream` adds one generator per sample. Row i of whatever a
law draws depends on generator i alone, so a sample's result is bit-identical whatever its batch.
"""

# torch's own annotations are only partly known.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
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


def counted(light: Tensor, photons: float, seeds: Iterable[int]) -> Tensor:
    """Light (B, ...), from black at -1 to white at 1, as counts of photons tell it: Poisson's law, with so
    many on average where it is white. Sample i is drawn from seed i; what is darker than black counts as
    black."""
    rates = (photons * (light.double() + 1).clamp(min=0) / 2).cpu()
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn = [torch.poisson(rate, draw) for rate, draw in zip(rates, draws, strict=True)]
    return (torch.stack(drawn) / photons * 2 - 1).to(light)


def seeds(seed: int, *key: int, n: int) -> list[int]:
    """Seeds of samples 0 .. n-1: `[derive(seed, *key, i) for i in range(n)]`.

    Sample i's seed does not depend on n. For other sample indices call `derive` itself.
    """
    return [derive(seed, *key, i) for i in range(n)]


class Noise(ABC):
    """A law of random fields, usually a frozen dataclass of its parameters."""

    @abstractmethod
    def draw(self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0) -> Tensor:
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

    A complex row is handed over as a real one with a first axis of 2: real and imaginary part.
    """
    check_batch(like, generators)
    dtype = working(like.dtype)
    if dtype.is_complex:
        parts = torch.empty(like.shape[0], 2, *like.shape[1:], dtype=dtype.to_real())
        for row, generator in zip(parts.unbind(0), generators, strict=True):
            draw(row, generator)
        return torch.complex(parts[:, 0], parts[:, 1]).to(like.device, like.dtype)
    out = torch.empty(like.shape, dtype=dtype)
    if len(generators) == 1:
        draw(out[0], generators[0])
    else:
        for row, generator in zip(out.unbind(0), generators, strict=True):
            draw(row, generator)
    return out if dtype == like.dtype and like.is_cpu else out.to(like.device, like.dtype)


def check_batch(like: Tensor, generators: Sequence[torch.Generator]) -> None:
    """ValueError unless `like` has one sample per generator."""
    if len(generators) != like.shape[0]:
        raise ValueError(
            f"the batch has {like.shape[0]} samples but the noise has {len(generators)} seeds: "
            "give one seed per sample."
        )


def working(dtype: torch.dtype) -> torch.dtype:
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
    """Independent standard normal values.

    >>> hw.White().stream([7])(torch.empty(1, 1, 32, 32)).shape
    torch.Size([1, 1, 32, 32])
    """

    def draw(self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0) -> Tensor:
        return fill(like, generators, _normal)


def _normal(row: Tensor, generator: torch.Generator) -> None:
    row.normal_(generator=generator)


def _uniform(row: Tensor, generator: torch.Generator) -> None:
    row.uniform_(generator=generator)


LONGEST_WAVE, SHORTEST_WAVE = 512, 0.125
"""Pixels of the first and the last octave, at most and at least."""


def check_octaves(octaves: int, persistence: float, wavelength: float) -> None:
    """ValueError unless the parameters of an octave sum make sense.

    What a field costs grows with the square of the wavelength, and with the lattices of the shortest one.
    """
    if octaves < 1:
        raise ValueError(f"octaves is {octaves}: use 1 or more.")
    if not persistence > 0:
        raise ValueError(f"persistence is {persistence}: use a positive number.")
    if not wavelength > 0:
        raise ValueError(f"wavelength is {wavelength}: use a positive number of pixels.")
    if wavelength > LONGEST_WAVE:
        raise ValueError(f"wavelength is {wavelength:g}: use {LONGEST_WAVE} pixels at most.")
    # Compared without a power, which a thousand octaves would make too large for a float.
    if octaves - 1 > math.log2(wavelength / SHORTEST_WAVE):
        raise ValueError(
            f"the last of {octaves} octaves from wavelength {wavelength:g} is shorter than {SHORTEST_WAVE} "
            "pixels: use fewer octaves."
        )
    if persistence > 1e3:
        raise ValueError(f"persistence is {persistence:g}: use 1000 at most.")


@final
@dataclass(frozen=True)
class Truncated(Noise):
    """Independent standard normal values conditioned on [-bound, bound], by the inverse distribution.

    The law of DiffuSeq's and Diffusion-LM's redrawing of values beyond the bound; variance below 1.

    >>> hw.Truncated(bound=2.0).stream([7])(torch.empty(1, 1, 32, 32)).shape
    torch.Size([1, 1, 32, 32])
    """

    bound: float = 1.0

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise ValueError(f"bound is {self.bound}: use a positive number.")

    def draw(self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0) -> Tensor:
        mass = math.erf(self.bound / math.sqrt(2))

        def invert(row: Tensor, generator: torch.Generator) -> None:
            row.uniform_(-mass, mass, generator=generator)
            row.erfinv_().mul_(math.sqrt(2)).clamp_(-self.bound, self.bound)

        return fill(like, generators, invert)


@final
@dataclass(frozen=True)
class PowerLaw(Noise):
    """Gaussian fields with the octaves of simplex noise: what AnoDDPM wanted and approximated.

        n ~ N(0, C),   C(r) proportional to sum_i persistence^(2i) c(r / w_i),   w_i = wavelength / 2^i

    c is the exact covariance of one octave of `Simplex` with independent gradients, averaged over
    positions (`octave_covariance`), so the spectrum is that of simplex noise and every pixel is N(0, 1).
    It is isotropic, vanishes beyond 2.83 wavelengths, and has no level axis. White noise is filtered on
    a torus so large that the cropped picture feels no wrap-around.

    >>> hw.PowerLaw(octaves=3, wavelength=16.0).stream([7])(torch.empty(1, 1, 32, 32)).shape
    torch.Size([1, 1, 32, 32])
    """

    octaves: int = 6
    persistence: float = 0.8
    wavelength: float = 64.0
    """Of the first octave, in pixels."""

    def __post_init__(self) -> None:
        check_octaves(self.octaves, self.persistence, self.wavelength)

    def draw(self, like: Tensor, generators: Sequence[torch.Generator], level: int | Tensor = 0) -> Tensor:
        """As `Noise.draw`, for pictures: like is (B, ..., H, W) with at least one axis between."""
        check_picture(like)
        height, width = like.shape[-2:]
        gain, torus = _filter(self, height, width, working(like.dtype).to_real())

        def colour(row: Tensor, generator: torch.Generator) -> None:
            white = torch.randn((*row.shape[:-2], *torus), generator=generator, dtype=row.dtype)
            field = torch.fft.irfft2(torch.fft.rfft2(white) * gain, torus)
            row.copy_(field[..., :height, :width])

        return fill(like, generators, colour)


@lru_cache(maxsize=16)
def _filter(law: PowerLaw, height: int, width: int, dtype: torch.dtype) -> tuple[Tensor, tuple[int, int]]:
    """Amplitude of each frequency (half plane, as rfft2) and the torus that it belongs to."""
    radius = math.ceil(_REACH * law.wavelength)
    # Even lengths with small factors; any lag inside the picture then stays `radius` from its images.
    torus = (16 * math.ceil((height + radius) / 16), 16 * math.ceil((width + radius) / 16))
    rows, columns = (torch.arange(-radius, radius + 1, dtype=torch.float64) for _ in range(2))
    total = torch.zeros(len(rows), len(columns), dtype=torch.float64)
    for some, part in zip(rows.split(_ROWS), total.split(_ROWS), strict=True):
        distance = torch.hypot(some[:, None], columns)
        for i in range(law.octaves):
            wave = law.wavelength / 2**i
            part += law.persistence ** (2 * i) * octave_covariance(distance / wave)
    total /= total[radius, radius].clone()
    # Wrapped onto the torus by adding, which keeps its transform a spectrum: never negative.
    wrapped = torch.zeros(torus, dtype=torch.float64)
    i, j = (rows.long() % torus[0])[:, None], columns.long() % torus[1]
    wrapped.index_put_((i, j), total, accumulate=True)
    spectrum = torch.fft.rfft2(wrapped).real.clamp(min=0)
    return spectrum.sqrt().to(dtype), torus


def octave_covariance(distance: Tensor) -> Tensor:
    """Covariance of one octave of raw simplex noise at a distance in wavelengths, averaged over positions.

    Simplex noise adds, for every lattice point, k(s) = g . s (2 - |s|^2)^4 / 103 at offset s within
    sqrt 2. The 24 gradients g are isotropic to second order, E g g^T = 51 I, and the lattice has one
    point per two units of volume, so the mean over positions is

        c(r) = 51/2 / 103^2  integral of f(s) f(s + r) s . (s + r),   f(s) = (2 - |s|^2)^4,

    a polynomial in r up to 2 sqrt 2 and zero beyond. In cylinder coordinates around the middle of r the
    integrand is polynomial too, so Gauss-Legendre nodes give it exactly; returned values are interpolated
    from a table (error below 1e-6). distance: any shape, float64, >= 0.
    """
    table = _covariance_table()
    place = (distance.clamp(max=_REACH) / _REACH) * (len(table) - 1)
    left = place.long().clamp(max=len(table) - 2)
    return torch.lerp(table[left], table[left + 1], place - left)


_ROWS = 512
"""Rows of the covariance that are computed at once: it is large for long waves."""
_REACH = 2 * math.sqrt(2)


@lru_cache(maxsize=1)
def _covariance_table() -> Tensor:
    """`octave_covariance` at 4097 equidistant points of [0, 2 sqrt 2]."""
    half = torch.linspace(0, math.sqrt(2), 4097, dtype=torch.float64)[:, None, None]
    nodes, weights = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(24))
    nodes, weights = (nodes + 1) / 2, weights / 2
    length = math.sqrt(2) - half
    along = length * nodes[:, None]
    rim = 2 - (along + half) ** 2
    across = rim * nodes
    far = rim - across
    near = 2 - across - (along - half) ** 2
    dot = across + along**2 - half**2
    inner = (far**4 * near**4 * dot * weights).sum(-1, keepdim=True) * rim
    outer = (inner * weights[:, None]).sum((1, 2)) * length[:, 0, 0]
    # 2 halves of the lens, 2 pi rho drho = pi d(rho^2).
    return outer * 2 * math.pi * 51 / 2 / 103**2


def octave_variance(octaves: int, persistence: float) -> float:
    """Variance of raw simplex noise, averaged over all positions."""
    return float(_covariance_table()[0]) * sum(persistence ** (2 * i) for i in range(octaves))


def check_picture(like: Tensor) -> None:
    """ValueError unless `like` is (B, ..., H, W) with at least one axis between."""
    if like.ndim < 4:
        raise ValueError(f"this noise needs (batch, channels, height, width), not {tuple(like.shape)}.")
