"""Discrete diffusion: processes over categories, their denoiser and its bound."""

from headwater.discrete.categorical import Categorical
from headwater.discrete.denoiser import DiscreteDenoiser
from headwater.discrete.process import Discrete, Mixture, absorbing, mask_and_replace, uniform

__all__ = [
    "Categorical",
    "Discrete",
    "DiscreteDenoiser",
    "Mixture",
    "absorbing",
    "mask_and_replace",
    "uniform",
]
