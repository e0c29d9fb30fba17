"""What a noise law looks like: its values against the normal curve, its spectrum against the pictures'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.methods.base import Images
from headwater.noise import Noise, Simplex, seeds


@dataclass(frozen=True, eq=False)
class Portrait:
    """One law, seen in many fields."""

    law: Noise
    example: Tensor
    """The first field, (1, H, W), as drawn."""
    std: float
    """Standard deviation over pixels and fields."""
    edges: Tensor
    """Bounds of the histogram's bins in standard deviations, (K + 1,)."""
    density: Tensor
    """Probability density in each bin, (K,)."""
    excess_kurtosis: float
    """Fourth standardised moment minus 3; 0 for a normal law."""
    spectrum: Tensor
    """Share of the power at 1, 2, ... cycles per picture, (side / 2,); sums to 1."""


def portrait(law: Noise, side: int, n: int = 64, seed: int = 0, bins: int = 40) -> Portrait:
    """Draw n fields of side x side pixels, each at a level of its own, and describe them."""
    levels = torch.arange(n) * (1000 // n) + 1
    fields = law.stream(seeds(seed, n=n))(torch.empty(n, 1, side, side), levels)
    values = fields.double().flatten()
    std = values.std()
    scaled = (values - values.mean()) / std
    edges = torch.linspace(-4, 4, bins + 1, dtype=torch.float64)
    count = torch.histogram(scaled, edges).hist
    density = count / (len(scaled) * (edges[1] - edges[0]))
    kurtosis = float(scaled.pow(4).mean()) - 3
    return Portrait(law, fields[0], float(std), edges, density, kurtosis, radial_spectrum(fields))


def octave_grid(
    octaves: Sequence[int],
    wavelengths: Sequence[float],
    side: int,
    persistence: float = 0.8,
    n: int = 64,
) -> list[list[Portrait]]:
    """A portrait of simplex noise for each number of octaves (row) and starting wavelength (column)."""
    return [[portrait(Simplex(o, persistence, w), side, n) for w in wavelengths] for o in octaves]


def radial_spectrum(image: Images) -> Tensor:
    """Share of the power at each whole frequency from 1 to side / 2 cycles per picture, (side / 2,) float64.

    image: (B, C, H, W), H = W. Each channel's mean is taken out and a Hann window put on, so that opposite
    borders need not fit; the power of a ring of frequencies is summed and averaged over pictures.
    """
    side = image.shape[-1]
    window = torch.hann_window(side, periodic=False, dtype=torch.float64)
    x = image.double()
    x = (x - x.mean((-2, -1), keepdim=True)) * window * window[:, None]
    power = torch.fft.fft2(x).abs().square().mean((0, 1))
    frequency = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    ring = torch.hypot(frequency[:, None], frequency).round().long()
    rings = torch.zeros(int(ring.max()) + 1, dtype=torch.float64)
    rings.index_add_(0, ring.flatten(), power.flatten())
    kept = rings[1 : side // 2 + 1]
    return kept / kept.sum()


def spectral_distance(one: Tensor, other: Tensor) -> float:
    """Half the absolute difference of two spectra that each sum to 1: 0 for equal ones, at most 1."""
    return float((one - other).abs().sum() / 2)


def normal_density(edges: Tensor) -> Tensor:
    """Mean density of N(0, 1) in each bin, (K,)."""
    mass = torch.special.ndtr(edges)
    return mass.diff() / edges.diff()
