"""Guidance: a classifier's gradient, in its two inequivalent forms, or the network's own condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwater.core.control import Control
from headwater.core.prediction import Denoises, Prediction
from headwater.core.transition import Gaussian, Level, Transition

LogProb = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, ...), label (B,)) -> log p(y | x_t), (B,)."""


def gradient(value: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of value(x) (B,) at x (B, ...), each row's of its own, also within a loop.

    Loops run in inference mode, whose tensors no graph can hold: `value` may use copies of them.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        return torch.autograd.grad(value(leaf).sum(), leaf)[0]


@dataclass(frozen=True)
class ClassifierMean(Control):
    """Classifier guidance by moving the mean: mu + scale std^2 grad log p(y | x_t).

    Dhariwal & Nichol 2021, Alg. 1; the gradient is taken at x_t, as in their code. Not equivalent to
    `ClassifierScore`. Raises TypeError for a transition that has no variance.
    """

    log_prob: LogProb
    scale: float = 1.0

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        if not isinstance(dist, Gaussian):
            raise TypeError("guidance of the mean needs a Gaussian transition")
        slope = gradient(lambda x: self.log_prob(x, pred.label.clone()), pred.x)
        return dist.shift(self.scale * (dist.std * dist.std) * slope)


@dataclass(frozen=True)
class ClassifierScore(Control):
    """Classifier guidance by moving the score: eps - scale sigma_t grad log p(y | x_t).

    Dhariwal & Nichol 2021, Alg. 2 (for DDIM and other ODE samplers). Put it after `Clip` to match their code.
    """

    log_prob: LogProb
    scale: float = 1.0

    def denoised(self, pred: Prediction) -> Prediction:
        if pred.alpha is None or pred.sigma is None:
            raise TypeError("guidance of the score needs a Gaussian process")
        slope = gradient(lambda x: self.log_prob(x, pred.label.clone()), pred.x)
        return pred.with_x0(pred.x0 + self.scale * (pred.sigma * pred.sigma / pred.alpha) * slope)


@dataclass(frozen=True, eq=False)
class ClassifierFree:
    """Classifier-free guidance around a denoiser, one batched network call (Ho & Salimans 2022).

    x0 = x0(null) + scale (x0(cond) - x0(null)); scale 1 is the plain condition. This is their w + 1.
    `null` holds the unconditional value of each condition that guidance varies, broadcastable to it.
    Conditions that `null` does not name are given to both halves. A variance head follows the condition.
    """

    denoiser: Denoises
    scale: float
    null: dict[str, Tensor]

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        """Predict from x (B, ...). Raises ValueError when a condition named in `null` is missing."""
        missing = sorted(set(self.null) - set(cond))
        if missing:
            raise ValueError(f"guidance needs the condition {', '.join(missing)}")
        both = {k: self._pair(k, v) if isinstance(v, Tensor) else v for k, v in cond.items()}
        level = torch.cat([t, t]) if isinstance(t, Tensor) and t.ndim else t
        twin = None
        if previous is not None:
            twin = previous.with_x0(torch.cat([previous.x0, previous.x0]))
        pred = self.denoiser(torch.cat([x, x]), level, twin, **both)
        told, plain = pred.x0.chunk(2)
        n = len(x)
        fraction, logvar = (None if v is None else v[:n] for v in (pred.fraction, pred.logvar))
        a, b = (v[:n] if isinstance(v, Tensor) else v for v in (pred.alpha, pred.sigma))
        x0 = plain + self.scale * (told - plain)
        return Prediction(x, t, x0, pred.label[:n], a, b, fraction, logvar)

    def _pair(self, name: str, value: Tensor) -> Tensor:
        null = self.null.get(name)
        return torch.cat([value, value if null is None else null.to(value).expand_as(value)])
