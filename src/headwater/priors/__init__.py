"""Trained priors: read, written, converted."""

from headwater.priors.config import PriorConfig, ProcessConfig
from headwater.priors.prior import Prior
from headwater.priors.sources import shipped

__all__ = ["Prior", "PriorConfig", "ProcessConfig", "shipped"]
