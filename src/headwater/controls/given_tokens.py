"""Walks along a discrete chain that keep what is given: of texts with holes, and of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.core import Control, NoiseSource, descend
from headwater.discrete import Discrete
from headwater.errors import need


def descending(T: int, steps: int) -> list[int]:
    """The levels visited on a chain of T. Raises UserError for more steps than levels."""
    need(1 <= steps <= T, f"there are {T} levels: set steps between 1 and {T}")
    return descend(T, steps)


@dataclass(frozen=True, eq=False)
class Keep(Control):
    """Before every network call, put the given tokens in place: clean where the chain has a mask, whose walk
    never touches what is unmasked; else freshly edited to level t, as RePaint does.

    given: int64 of x's shape, negative where nothing is given.
    """

    q: Discrete
    given: Tensor
    clean: bool
    noise: NoiseSource

    def before(self, x: Tensor, t: int) -> Tensor:
        known = self.given >= 0
        # Drawn also where nothing is known: a sample's draws depend on no other sample.
        put = self.given if self.clean else self.q.sample(self.given.clamp(min=0), t, self.noise)
        return torch.where(known, put, x)
