"""Training a prior: one loop, exact resume, every random number a function of (seed, step, sample)."""

from headwater.train.loop import fit
from headwater.train.recipe import Architecture, Recipe

__all__ = ["Architecture", "Recipe", "fit"]
