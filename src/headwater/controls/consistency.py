"""Consistency with measured data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from headwater.core.control import Control
from headwater.core.process import Diffusion
from headwater.core.transition import NoiseSource, fit
from headwater.operators import Operator


@dataclass(frozen=True, eq=False)
class Consistent(Control):
    """Put x onto the measured data, x + weight A^+ (y - A x), after every step, predictor's or corrector's.

    y: measurements (B, ...). weight: see `Operator.project`.
    process, noise: put it there before every network call instead, onto data that are as noisy as x,
    y_t = alpha_t y + sigma_t A z with a fresh z each time (Song et al. 2022), and onto y at the end.
    """

    operator: Operator
    y: Tensor
    weight: float = 1.0
    process: Diffusion | None = None
    noise: NoiseSource | None = None

    def before(self, x: Tensor, t: int) -> Tensor:
        if self.process is None or self.noise is None:
            return x
        alpha, sigma = (fit(v, x) for v in self.process.scales(t))
        noisy = alpha * self.y + sigma * self.operator.forward(self.noise(x, t))
        return self.operator.project(x, noisy, self.weight)

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        if self.noise is not None and s > 0:
            return x
        return self.operator.project(x, self.y, self.weight)
