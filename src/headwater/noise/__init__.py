"""Noise: laws of random fields, one stream per sample, and seeds as pure functions of integers."""

from headwater.noise.laws import Noise, PowerLaw, Stream, Truncated, White, counted, derive, fill, seeds
from headwater.noise.purposes import Purpose
from headwater.noise.random_simplex import RandomSimplex
from headwater.noise.simplex import Simplex

__all__ = [
    "Noise",
    "PowerLaw",
    "Purpose",
    "RandomSimplex",
    "Simplex",
    "Stream",
    "Truncated",
    "White",
    "counted",
    "derive",
    "fill",
    "seeds",
]
