"""What `headwater bench` measures: our way against the usual one, as ratios."""

from headwater.bench.row import Row, table
from headwater.bench.suite import NAMES, run
from headwater.bench.surroundings import surroundings

__all__ = ["NAMES", "Row", "run", "surroundings", "table"]
