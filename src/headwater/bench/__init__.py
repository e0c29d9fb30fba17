"""What `headwater bench` measures: our way against the usual one, as ratios, and quality against calls."""

from headwater.bench.curve import Curve, curves
from headwater.bench.page import around, markdown, put
from headwater.bench.row import Row, table
from headwater.bench.suite import NAMES, Measured, run
from headwater.bench.surroundings import surroundings

__all__ = [
    "NAMES",
    "Curve",
    "Measured",
    "Row",
    "around",
    "curves",
    "markdown",
    "put",
    "run",
    "surroundings",
    "table",
]
