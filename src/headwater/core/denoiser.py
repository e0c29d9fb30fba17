"""A network told how to read its output, and the prediction it then makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from headwater.core.process import Diffusion
from headwater.core.transition import Coefficient, Level, fit

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


def _vanishes(alpha: Coefficient) -> bool:
    return bool((alpha == 0).any()) if isinstance(alpha, Tensor) else alpha == 0


@dataclass(frozen=True, eq=False)
class Denoiser:
    """network + process + the meaning of the network's output.

    predicts: eps (Ho et al. 2020), x0, v (Salimans & Ho 2022) or score.
    variance: `learned_range` and `learned` networks return twice the channels, the second half being the
        variance (Nichol & Dhariwal 2021).
    self_conditioning: the network takes `x_self`, its previous estimate of x0 or zeros (Chen et al. 2023).
    dtype: precision of the network call when the state x is kept in another (a float64 solver).
    """

    network: Network
    process: Diffusion
    predicts: Target = "eps"
    variance: Variance = "fixed"
    self_conditioning: bool = False
    dtype: torch.dtype | None = None

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
        if self.dtype is None or self.dtype == x.dtype:
            return self.network(x, label, **cond)
        return self.network(x.to(self.dtype), label.to(self.dtype), **cond).to(x.dtype)

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
        """The parts of `loss`, for those who weigh them otherwise: squared error and bound, (B,) each.

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
        mse = (out - self.target(x0, eps, t)).abs().square().flatten(1).mean(1)
        if spread is None:
            return mse, None
        from headwater.core.likelihood import bound

        a, b = (fit(v, x) for v in self.process.scales(t))
        fixed = Prediction(x, t, self._x0(x, out.detach(), a, b), label, a, b)
        ranged = self.variance == "learned_range"
        told = replace(fixed, fraction=(spread + 1) / 2) if ranged else replace(fixed, logvar=spread)
        return mse, bound(self.process, told, x0)


class Preconditioned(nn.Module):
    """EDM's wrapper: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), a network that predicts x0.

    Karras et al. 2022, Table 1 and eq. 7; the label it is told is sigma. `data_std` is sigma_data.
    """

    def __init__(self, network: nn.Module, data_std: float = 0.5) -> None:
        super().__init__()
        self.network = network
        self.data_std = data_std

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, ...), label (B,) = sigma. Returns the estimate of x0, (B, ...)."""
        sigma = label.reshape(-1, *[1] * (x.ndim - 1))
        total = sigma.square() + self.data_std**2
        inner = self.network(x / total.sqrt(), label.log() / 4, **cond)
        return self.data_std**2 / total * x + sigma * self.data_std / total.sqrt() * inner


class RealAndImaginary(nn.Module):
    """Serve a complex image with a network of real ones: both parts in one doubled batch (Score-MRI)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, ...) complex, label (B,); conditions are repeated for both parts."""
        twice = {k: torch.cat([v, v]) if isinstance(v, Tensor) else v for k, v in cond.items()}
        real, imag = self.network(torch.cat([x.real, x.imag]), torch.cat([label, label]), **twice).chunk(2)
        return torch.complex(real, imag)
