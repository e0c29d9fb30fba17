"""What a network says about noisy data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from headwater.core.transition import Coefficient, Level

Network = Callable[..., Tensor]
"""network(x (B, C, ...), label (B,), **cond) -> (B, C or 2C, ...)."""

Target = Literal["eps", "x0", "v", "score"]
Variance = Literal["fixed", "learned", "learned_range"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a denoiser says about x (B, ...) at level t: an estimate `x0` of the clean data.

    x = alpha x0 + sigma eps always holds: the noise, score and velocity follow from x0, so an edit of x0
    (`with_x0`) carries over to them. For a discrete process x0 holds logits and alpha is None.
    `fraction` (learned range) or `logvar` (learned) is the network's word on the variance, if any.
    """

    x: Tensor
    t: Level
    x0: Tensor
    label: Tensor
    alpha: Coefficient | None = None
    sigma: Coefficient | None = None
    fraction: Tensor | None = None
    logvar: Tensor | None = None

    def _scales(self) -> tuple[Coefficient, Coefficient]:
        if self.alpha is None or self.sigma is None:
            raise ValueError("a discrete prediction has categories, no noise")
        return self.alpha, self.sigma

    @property
    def eps(self) -> Tensor:
        """The noise in x, (B, ...)."""
        a, b = self._scales()
        return (self.x - a * self.x0) / b

    @property
    def score(self) -> Tensor:
        """grad log p(x_t) = -eps / sigma_t, (B, ...)."""
        return -self.eps / self._scales()[1]

    @property
    def v(self) -> Tensor:
        """alpha eps - sigma x0, (B, ...) (Salimans & Ho 2022)."""
        a, b = self._scales()
        return a * self.eps - b * self.x0

    def with_x0(self, x0: Tensor) -> Prediction:
        """The same x with another estimate of the clean data; eps changes with it."""
        return replace(self, x0=x0)


class Denoises(Protocol):
    """Anything that predicts: a `Denoiser`, a guided one, a closed form."""

    @property
    def process(self) -> Any: ...

    def __call__(
        self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any
    ) -> Prediction: ...


def labels(table: Tensor, t: Level, x: Tensor) -> Tensor:
    """What the network is told for each sample of x, (B,) float32 (float64 if x is)."""
    kind = torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32
    if isinstance(t, int):
        return torch.full((len(x),), table[t].item(), dtype=kind, device=x.device)
    return table[t.cpu()].to(x.device, kind).expand(len(x))
