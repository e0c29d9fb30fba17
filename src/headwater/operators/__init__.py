"""Measurements of images: linear operators with adjoint and pseudo-inverse."""

from headwater.operators.linear import Coils, Fourier, OfReal, Operator, Sampled, Turned, inner, least_squares

__all__ = ["Coils", "Fourier", "OfReal", "Operator", "Sampled", "Turned", "inner", "least_squares"]
