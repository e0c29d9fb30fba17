"""Trained priors: read, written, converted."""

from headwater.priors.config import PriorConfig, ProcessConfig
from headwater.priors.prior import Prior

__all__ = ["Prior", "PriorConfig", "ProcessConfig"]
