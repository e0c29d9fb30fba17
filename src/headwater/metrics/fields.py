"""What random fields look like: their values against the normal curve, their spectrum against another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.noise import Noise, seeds

EDGES = torch.linspace(-4, 4, 41, dtype=torch.float64)
"""Bounds of the bins of values, in standard deviations."""
BINS = (EDGES[1:] + EDGES[:-1]) / 2
"""Their middles, (40,)."""


@dataclass(frozen=True, eq=False)
class FieldStatistics:
    """One noise distribution in many fields of side x side pixels."""

    example: Tensor
    """The first field, (1, H, W), as drawn."""
    std: float
    """Standard deviation over pixels and fields."""
    density: Tensor
    """Probability density in each bin, (40,)."""
    excess_kurtosis: float
    """Fourth standardised moment minus 3; 0 for a normal distribution."""
    spectrum: Tensor
    """Share of the power at 1, 2, ... cycles per picture, (side / 2,); sums to 1."""

    @classmethod
    def of(cls, law: Noise, side: int, n: int = 64) -> FieldStatistics:
        """Draw n fields, each at a timestep of its own, and describe them."""
        timesteps = torch.arange(n) * (1000 // n) + 1
        fields = law.stream(seeds(0, n=n))(torch.empty(n, 1, side, side), timesteps)
        values = fields.double().flatten()
        scaled = (values - values.mean()) / values.std()
        density = torch.histogram(scaled, EDGES).hist / len(scaled) / (EDGES[1] - EDGES[0])
        kurtosis = float(scaled.pow(4).mean()) - 3
        return cls(fields[0], float(values.std()), density, kurtosis, radial_spectrum(fields))


def radial_spectrum(image: Tensor) -> Tensor:
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


def normal_density() -> Tensor:
    """Mean density of N(0, 1) in each bin, (40,)."""
    return torch.special.ndtr(EDGES).diff() / EDGES.diff()
