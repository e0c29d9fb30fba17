"""Training: one trainer and one config of it; a prior is one more thing that it trains."""

from pathlib import Path

from headwater.training.config import TrainerConfig
from headwater.training.prior import fit
from headwater.training.recipe import Recipe
from headwater.training.trainer import Adversary, OutOfTime, step_noise, train

RECIPES = Path(__file__).parent / "recipes"
"""Recipes of the priors that ship, NAME.yaml each."""

__all__ = ["RECIPES", "Adversary", "OutOfTime", "Recipe", "TrainerConfig", "fit", "step_noise", "train"]
