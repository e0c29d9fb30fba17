"""Gradients through a whole walk in the memory of one network call."""

# torch's own annotations are only partly known.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from headwater.core.prediction import Denoises, Prediction
from headwater.core.transition import Level
from headwater.modes import evaluating


@dataclass(frozen=True, eq=False)
class Recomputed:
    """A denoiser whose inner activations are dropped after each call and computed again for the gradient.

    For `reverse(Recomputed(denoiser), ..., keep_graph=True)`. The gradient is that of plain autograd, the
    same operations in the same order. A walk of S steps over states of n bytes keeps at most 4 S n bytes
    (x, x0 and what a control or sampler saves of them), the activations of one call instead of S of them,
    and autograd's own nodes, half a megabyte a step; the network runs once more per step. Nothing is
    recomputed where no gradient is wanted.
    """

    inner: Denoises

    @property
    def process(self) -> Any:
        """The forward process of the denoiser within."""
        return self.inner.process

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        """As the denoiser within."""
        return cast(Prediction, checkpoint(self._once, x, t, previous, use_reentrant=False, **cond))

    def _once(self, *given: Any, **cond: Any) -> Prediction:
        # When it is computed again, nobody else sees to the mode.
        with evaluating(self.inner):
            return self.inner(*given, **cond)
