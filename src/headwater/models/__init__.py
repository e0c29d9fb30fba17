"""Everything that is trained, priors first: read, written, converted, inspected."""

from headwater.models.config import PriorConfig, ProcessConfig
from headwater.models.conversion import convert
from headwater.models.image_text import ImageTextEncoder
from headwater.models.inspection import Report, inspect
from headwater.models.pretrained import Pretrained
from headwater.models.prior import Prior
from headwater.models.sources import shipped

__all__ = [
    "ImageTextEncoder",
    "Pretrained",
    "Prior",
    "PriorConfig",
    "ProcessConfig",
    "Report",
    "convert",
    "inspect",
    "shipped",
]
