"""What is given of a sample, held in place while the rest of it is denoised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwater.core.control import Control
from headwater.core.prediction import Prediction
from headwater.core.process import Diffusion
from headwater.core.transition import Level, NoiseSource
from headwater.discrete import Discrete


@dataclass(frozen=True, eq=False)
class GivenRegion(Control):
    """Put `data` (B, ...) in place where `known`, bool and broadcastable to it, is True.

    process, noise: noise the data to the level of x first, freshly each time (RePaint), or with whatever this
    source answers at a timestep (`forward_trajectory`). Without noise the data enters clean, as for chains
    whose loop never touches what is clean. Noise is drawn for the unknown part too, so that a sample's
    draws depend on no other sample.
    place: into x `before` each network call, `after` each step, or `both`; or into the `estimate` of the
    clean data, which leaves x alone and so suits multistep samplers.
    """

    data: Tensor
    known: Tensor
    process: Diffusion | Discrete | None = None
    noise: NoiseSource | None = None
    place: Literal["before", "after", "both", "estimate"] = "before"

    @property
    def edits_x(self) -> bool:
        return self.place != "estimate"

    def put(self, x: Tensor, t: int) -> Tensor:
        """x at level t with what is given in place."""
        data = self.data
        if self.process is not None and self.noise is not None:
            data = self.process.sample(data, t, self.noise)
        return data.where(self.known, x)

    def before(self, x: Tensor, t: int) -> Tensor:
        return self.put(x, t) if self.place in ("before", "both") else x

    def denoised(self, pred: Prediction) -> Prediction:
        if self.place != "estimate":
            return pred
        return pred.with_x0(self.data.where(self.known, pred.x0))

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        return self.put(x, s) if self.place in ("after", "both") else x


def forward_trajectory(q: Diffusion, like: Tensor, noise: NoiseSource) -> NoiseSource:
    """Noise for a `GivenRegion` whose timesteps belong together, as in CSDI's unconditional variant.

    It is that of one forward trajectory 0 .. T a sample, and N(0, 1) at each timestep. Memory: T fields
    like `like`.
    """
    held, fields = torch.zeros_like(like), [torch.zeros_like(like)]
    for t in range(1, q.T + 1):
        held = q.advance(held, t - 1, t, noise)
        fields.append(held / q.scales(t)[1])

    def at(like: Tensor, level: Level) -> Tensor:
        return fields[int(level)]

    return at
