"""Training a prior: one loop, exact resume, every random number a function of (seed, step, sample)."""

from pathlib import Path

from headwater.training.loop import fit
from headwater.training.recipe import Architecture, Recipe

RECIPES = Path(__file__).parent / "recipes"
"""Recipes of the priors that ship, NAME.yaml each."""

__all__ = ["RECIPES", "Architecture", "Recipe", "fit"]
