"""Draws of categories: from their probabilities, or from one law for all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.core.transition import Level, NoiseSource, uniform_of


@dataclass(frozen=True, eq=False)
class Categorical:
    """Independent categories with unnormalised log-probabilities `logits` (..., K)."""

    logits: Tensor

    def sample(self, noise: NoiseSource, level: Level = 0) -> Tensor:
        """Indices (...): the distribution function is inverted at one uniform draw each.

        A noise source with a method `choose` (logits -> indices) decides in its own way: that is how tests
        replay the Gumbel draws of reference codes, K for each index, which cost seconds at K = 8,192.
        """
        choose = getattr(noise, "choose", None)
        if choose is not None:
            return choose(self.logits)
        total = self.probs.cumsum(-1)
        return inverted(total, uniform_of(noise)(total[..., :1]))[..., 0]

    def shift(self, delta: Tensor) -> Categorical:
        return replace(self, logits=self.logits + delta)

    @property
    def probs(self) -> Tensor:
        """Probabilities (..., K)."""
        return self.logits.softmax(-1)


def inverted(total: Tensor, uniform: Tensor) -> Tensor:
    """Categories at which the sums of probabilities `total` (K,) or (..., K) pass `uniform` (..., n).

    The sums may end near 1 instead of at it. A category of probability 0 is never found.
    """
    last = total[..., -1:]
    # Rounding may reach the end, beyond which there is no category.
    below = last.nextafter(torch.zeros_like(last))
    return torch.searchsorted(total, torch.minimum(uniform.to(last) * last, below), right=True)
