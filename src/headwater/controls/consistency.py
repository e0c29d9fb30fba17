"""Consistency with measured data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from headwater.core.control import Control
from headwater.operators import Operator


@dataclass(frozen=True, eq=False)
class Consistent(Control):
    """After every step, predictor's or corrector's, put x_s onto the measured data (no noise is added to y).

    y: measurements (B, ...). weight: see `Operator.project`.
    """

    operator: Operator
    y: Tensor
    weight: float = 1.0

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        return self.operator.project(x, self.y, self.weight)
