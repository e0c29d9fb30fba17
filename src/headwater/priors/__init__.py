"""Trained priors: read, written, converted, inspected."""

from headwater.priors.config import PriorConfig, ProcessConfig
from headwater.priors.conversion import convert
from headwater.priors.inspection import Report, inspect
from headwater.priors.prior import Prior
from headwater.priors.sources import shipped

__all__ = ["Prior", "PriorConfig", "ProcessConfig", "Report", "convert", "inspect", "shipped"]
