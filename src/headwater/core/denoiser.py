"""A network told how to read its output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from headwater.core.likelihood import bound
from headwater.core.prediction import Network, Prediction, Target, Variance, labels
from headwater.core.process import Diffusion
from headwater.core.transition import Coefficient, Level, fit

Error = Literal["l2", "l1", "huber"]
"""|e|^2, |e|, or Huber's: |e|^2 / 2 up to 1, |e| - 1/2 beyond."""


def sized(difference: Tensor, error: Error) -> Tensor:
    """The size of each number of a difference, real or complex."""
    size = difference.abs()
    match error:
        case "l2":
            return size.square()
        case "l1":
            return size
        case "huber":
            return torch.where(size < 1, size.square() / 2, size - 0.5)


def _vanishes(alpha: Coefficient) -> bool:
    return bool((alpha == 0).any()) if isinstance(alpha, Tensor) else alpha == 0


@dataclass(frozen=True, eq=False)
class Denoiser:
    """network + process + the meaning of the network's output.

    predicts: eps (Ho et al. 2020), x0, v (Salimans & Ho 2022) or score.
    variance: `learned_range` and `learned` networks return twice the channels, the second half being the
        variance (Nichol & Dhariwal 2021).
    self_conditioning: the network takes `x_self`, its previous estimate of x0 or zeros (Chen et al. 2023).
    dtype: precision of the network call when the real state x is kept in another (a float64 solver).
    error: how `loss` measures what the network gets wrong: its square (Ho et al. 2020), l1, or Huber's.

    >>> denoiser = hw.Denoiser(lambda x, label: 0 * x, hw.Diffusion.flow(10), "x0")
    >>> denoiser(torch.ones(2, 3), 5).x0.sum().item()
    0.0
    """

    network: Network
    process: Diffusion
    predicts: Target = "eps"
    variance: Variance = "fixed"
    self_conditioning: bool = False
    dtype: torch.dtype | None = None
    error: Error = "l2"

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        """Predict from x (B, ...) at level t. Raises ValueError where the target has no answer."""
        q = self.process
        scales = q.scales(t)
        a, b = fit(scales[0], x), fit(scales[1], x)
        if self.predicts in ("eps", "score") and _vanishes(scales[0]):
            raise ValueError(
                f"a network that predicts {self.predicts} says nothing about level {t}, which is pure "
                "noise: start the plan lower, or use a v or x0 network"
            )
        label = labels(q.label, t, x)
        out, spread = self._split(self._run(x, label, previous, cond), x)
        x0 = self._x0(x, out, a, b)
        if self.variance == "learned_range" and spread is not None:
            return Prediction(x, t, x0, label, a, b, fraction=(spread + 1) / 2)
        return Prediction(x, t, x0, label, a, b, logvar=spread)

    def _run(self, x: Tensor, label: Tensor, previous: Prediction | None, cond: dict[str, Any]) -> Tensor:
        if self.self_conditioning:
            cond = {**cond, "x_self": torch.zeros_like(x) if previous is None else previous.x0}
        own = x.dtype if self.dtype is None else self.dtype.to_complex() if x.is_complex() else self.dtype
        if own == x.dtype:
            return self.network(x, label, **cond)
        return self.network(x.to(own), label.to(own.to_real()), **cond).to(x.dtype)

    def _split(self, out: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        channels = x.shape[1] * (1 if self.variance == "fixed" else 2)
        if out.shape[1] != channels or out.shape[2:] != x.shape[2:]:
            raise ValueError(
                f"the network answered {tuple(out.shape)} to {tuple(x.shape)}; with variance="
                f"{self.variance!r} it must return {channels} channels of the same size"
            )
        if self.variance == "fixed":
            return out, None
        mean, spread = out.chunk(2, dim=1)
        return mean, spread

    def _x0(self, x: Tensor, out: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        match self.predicts:
            case "x0":
                return out
            case "eps":
                return (x - b * out) / a
            case "v":
                return (a * x - b * out) / (a * a + b * b)
            case "score":
                return (x + b * b * out) / a

    def target(self, x0: Tensor, eps: Tensor, t: Level) -> Tensor:
        """What the network should answer at combine(x0, eps, t), (B, ...)."""
        q = self.process
        a, b = (fit(v, x0) for v in q.scales(t))
        match self.predicts:
            case "x0":
                return x0
            case "eps":
                return eps
            case "v":
                return a * eps - b * x0
            case "score":
                return -eps / b

    def loss(self, x0: Tensor, t: Level, eps: Tensor, **cond: Any) -> Tensor:
        """L_simple in the network's own target, plus the bound for a learned variance; (B,).

        x0, eps (B, ...); t one level or (B,). The bound counts T / 1000 (Nichol & Dhariwal 2021, L_hybrid).
        """
        mse, bits = self.terms(x0, t, eps, **cond)
        return mse if bits is None else mse + bits * (self.process.T / 1000)

    def terms(self, x0: Tensor, t: Level, eps: Tensor, **cond: Any) -> tuple[Tensor, Tensor | None]:
        """The parts of `loss`, for those who weigh them otherwise: error and bound, (B,) each.

        The bound, in bits per dimension, trains the variance head alone: the mean is detached. None
        where the variance is fixed.
        """
        x = self.process.combine(x0, eps, t)
        label = labels(self.process.label, t, x)
        previous = None
        if self.self_conditioning and x0.numel():  # half the batch sees its own first guess
            with torch.no_grad():
                guess = self(x, t, **cond)
            keep = (torch.arange(len(x), device=x.device) % 2).reshape(-1, *[1] * (x.ndim - 1))
            previous = guess.with_x0(guess.x0 * keep)
        out, spread = self._split(self._run(x, label, previous, cond), x)
        mse = sized(out - self.target(x0, eps, t), self.error).flatten(1).mean(1)
        if spread is None:
            return mse, None
        a, b = (fit(v, x) for v in self.process.scales(t))
        fixed = Prediction(x, t, self._x0(x, out.detach(), a, b), label, a, b)
        ranged = self.variance == "learned_range"
        told = replace(fixed, fraction=(spread + 1) / 2) if ranged else replace(fixed, logvar=spread)
        return mse, bound(self.process, told, x0)
