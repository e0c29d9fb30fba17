"""Measurements of images: linear operators with adjoint and pseudo-inverse, some with their decomposition."""

from headwater.operators.linear import (
    Coils,
    Fourier,
    Measurement,
    OfReal,
    Operator,
    Sampled,
    Turned,
    inner,
    least_squares,
)
from headwater.operators.nonlinear import JPEG, Overexposed, PhaseRetrieval
from headwater.operators.spectral import (
    BlockAverage,
    Circular,
    Grey,
    LowPass,
    Masked,
    Separable,
    Spectral,
    WalshHadamard,
    resizing,
)
from headwater.operators.tomography import Radon

__all__ = [
    "JPEG",
    "BlockAverage",
    "Circular",
    "Coils",
    "Fourier",
    "Grey",
    "LowPass",
    "Masked",
    "Measurement",
    "OfReal",
    "Operator",
    "Overexposed",
    "PhaseRetrieval",
    "Radon",
    "Sampled",
    "Separable",
    "Spectral",
    "Turned",
    "WalshHadamard",
    "inner",
    "least_squares",
    "resizing",
]
