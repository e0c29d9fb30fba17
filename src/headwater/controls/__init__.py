"""Controls that several methods use: where they reach into a step is told by `headwater.core.control`."""

from headwater.controls.clip import Clip, DynamicThreshold
from headwater.controls.consistency import Consistent
from headwater.controls.given_region import GivenRegion, forward_trajectory
from headwater.controls.rounding import Nearest

__all__ = ["Clip", "Consistent", "DynamicThreshold", "GivenRegion", "Nearest", "forward_trajectory"]
