"""Exponential moving average of weights, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class EMA:
    """Keeps `network` (a copy, never trained) at the running average of another's weights.

    At step k the decay is min(decay, (1 + k) / (10 + k)), so that the average forgets its random
    start early. Buffers, such as the statistics of batch norm, are averages already and are copied.
    """

    network: nn.Module
    decay: float

    @torch.no_grad()
    def update(self, trained: nn.Module, step: int) -> None:
        """Move towards the trained weights after optimiser step `step` (1 for the first)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine = [p.data for p in self.network.parameters()]
        theirs: list[Tensor] = [p.data for p in trained.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for copy, buffer in zip(self.network.buffers(), trained.buffers(), strict=True):
            copy.copy_(buffer)
