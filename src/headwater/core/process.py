"""Forward processes on real or complex arrays: x_t = alpha_t x_0 + sigma_t noise.

Level 0 is clean data and level T pure noise, so no special case is needed at either end. VP, VE, EDM and
flow paths differ only in their tables. A complex x is a pair of real ones: its noise has unit variance
in each part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headwater.core import schedule
from headwater.core.transition import Coefficient, Gaussian, Level, NoiseSource, fit, log, root


@dataclass(frozen=True, eq=False)
class SDE:
    """dx = f x du + g dw, sampled at the levels of a process: three tables (T+1,) float64.

    time: u at each level, ascending. drift: f. diffusion: g squared.
    """

    time: Tensor
    drift: Tensor
    diffusion: Tensor


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A Gaussian process given by its level tables, each (T+1,) float64.

    alpha: scale of the data; alpha[0] = 1.
    sigma: standard deviation of the noise; sigma[0] = 0.
    label: what the network is told at each level (entry 0 is never used).
    sde: the rates of change at each level, where the table samples a process in continuous time.

    Raises ValueError when the tables disagree or do not start at clean data.

    >>> hw.Diffusion.edm(18).T
    18
    """

    alpha: Tensor
    sigma: Tensor
    label: Tensor
    sde: SDE | None = None

    def __post_init__(self) -> None:
        tables = (self.alpha, self.sigma, self.label)
        if self.sde is not None:
            tables += (self.sde.time, self.sde.drift, self.sde.diffusion)
        if any(v.ndim != 1 or v.dtype != torch.float64 or len(v) != len(self.alpha) for v in tables):
            raise ValueError("alpha, sigma, label and rates must be float64 tables of one length")
        if len(self.alpha) < 2 or self.alpha[0] != 1 or self.sigma[0] != 0:
            raise ValueError("level 0 must be clean data: alpha[0] = 1 and sigma[0] = 0, then T >= 1")

    @classmethod
    def vp(cls, betas: Tensor, label: Tensor | None = None) -> Diffusion:
        """Variance-preserving chain (Ho et al. 2020). `betas` is (T,); level t is told label t - 1."""
        if bool(((betas < 0) | (betas > 1)).any()):
            raise ValueError("betas are variances of single steps: keep them within 0 and 1")
        bar = (1 - betas.double()).cumprod(0)
        told = torch.arange(len(betas), dtype=torch.float64) if label is None else label.double()
        return cls(_lead(1, bar.sqrt()), _lead(0, (1 - bar).clamp(min=0).sqrt()), _lead(0, told))

    @classmethod
    def vp_sde(cls, times: Tensor, low: float = 0.1, high: float = 20.0) -> Diffusion:
        """The continuous VP-SDE at the given ascending times in (0, 1], told 999 t (Song et al. 2021)."""
        u = times.double()
        log_bar = -0.5 * u.square() * (high - low) - u * low
        time = _lead(0, u)
        beta = low + (high - low) * time
        sde = SDE(time, -beta / 2, beta)
        return cls(_lead(1, (log_bar / 2).exp()), _lead(0, (-log_bar.expm1()).sqrt()), _lead(0, 999 * u), sde)

    @classmethod
    def ve(cls, sigmas: Tensor, label: Tensor | None = None) -> Diffusion:
        """Variance-exploding process: `sigmas` (T,) ascending; told sigma unless `label` says other."""
        table = sigmas.double()
        told = table if label is None else label.double()
        return cls(torch.ones(len(table) + 1, dtype=torch.float64), _lead(0, table), _lead(0, told))

    @classmethod
    def edm(cls, n: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Diffusion:
        """Karras' table of n levels; the network wrapper is `Preconditioned` (Karras et al. 2022)."""
        return cls.ve(schedule.karras(n, low, high, rho))

    @classmethod
    def flow(cls, n: int) -> Diffusion:
        """Straight paths x_u = (1 - u) x_0 + u noise at n even times u, told u (rectified flow)."""
        u = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        return cls(1 - u, u, u)

    @property
    def T(self) -> int:
        """The highest level."""
        return len(self.alpha) - 1

    @cached_property
    def half_log_snr(self) -> Tensor:
        """lambda_t = ln(alpha_t / sigma_t), (T+1,); +inf at level 0."""
        return self.alpha.log() - self.sigma.log()

    @cached_property
    def _scales(self) -> list[tuple[float, float]]:
        return [(float(a), float(b)) for a, b in zip(self.alpha, self.sigma, strict=True)]

    def scales(self, t: Level) -> tuple[Coefficient, Coefficient]:
        """alpha_t and sigma_t."""
        return self._scales[t] if isinstance(t, int) else (self.alpha[t.cpu()], self.sigma[t.cpu()])

    def combine(self, x0: Tensor, eps: Tensor, t: Level) -> Tensor:
        """alpha_t x0 + sigma_t eps; all (B, ...)."""
        a, b = self.scales(t)
        return fit(a, x0) * x0 + fit(b, x0) * eps

    def sample(self, x0: Tensor, t: Level, noise: NoiseSource) -> Tensor:
        """A draw of q(x_t | x_0), (B, ...)."""
        return self.combine(x0, noise(x0, t), t)

    def start(self, like: Tensor, noise: NoiseSource) -> Tensor:
        """A draw of x_T for data of about unit variance, in the shape and type of `like`."""
        return math.hypot(*self._scales[-1]) * noise(like, self.T)

    def between(self, s: Level, t: Level) -> tuple[Coefficient, Coefficient]:
        """Scale and standard deviation of q(x_t | x_s) for s <= t."""
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.scales(s), self.scales(t)
        a = alpha_t / alpha_s
        return a, root(sigma_t * sigma_t - a * a * sigma_s * sigma_s)

    def increments(self, s: Level, t: Level) -> tuple[Coefficient, Coefficient]:
        """Drift f du and squared diffusion g^2 du of one Euler step between s <= t.

        In continuous time the rates at t times the time between; for a table without rates those of the
        chain itself, x_t - x_s = (a - 1) x_s + b noise (Song et al. 2021, App. E).
        """
        if self.sde is None:
            a, b = self.between(s, t)
            return a - 1, b * b
        du = self.sde.time[t] - self.sde.time[s]
        drift, diffusion = self.sde.drift[t] * du, self.sde.diffusion[t] * du
        if isinstance(s, int) and isinstance(t, int):
            return float(drift), float(diffusion)
        return drift, diffusion

    def advance(self, x: Tensor, s: Level, t: Level, noise: NoiseSource) -> Tensor:
        """A draw of q(x_t | x_s): the climbing steps of a plan."""
        a, b = self.between(s, t)
        return fit(a, x) * x + fit(b, x) * noise(x, t)

    def posterior(self, x: Tensor, x0: Tensor, t: Level, s: Level) -> Gaussian:
        """q(x_s | x_t, x_0) for s < t (Ho et al. 2020, eq. 6 and 7, for any pair of levels)."""
        a, b = self.between(s, t)
        (alpha_s, sigma_s), (_, sigma_t) = self.scales(s), self.scales(t)
        total = sigma_t * sigma_t
        mean = fit(a * sigma_s * sigma_s / total, x) * x + fit(alpha_s * b * b / total, x) * x0
        return Gaussian(mean, fit(b * sigma_s / sigma_t, x))

    def log_variances(self, t: Level, s: Level) -> tuple[Coefficient, Coefficient]:
        """ln of the smallest (posterior) and largest (forward) reverse variance.

        Learned variances lie between the two (Nichol & Dhariwal 2021, eq. 15). Into level 0 the
        posterior variance is 0, so that of the step 2 -> 1 stands in, as in OpenAI's code.
        """
        low_s = max(s, 1) if isinstance(s, int) else s.clamp(min=1)
        low_t = max(t, min(2, self.T)) if isinstance(t, int) else t.clamp(min=min(2, self.T))
        _, b_low = self.between(low_s, low_t)
        _, b = self.between(s, t)
        small = b_low * self.scales(low_s)[1] / self.scales(low_t)[1]
        return 2 * log(small), 2 * log(b)


def _lead(first: float, rest: Tensor) -> Tensor:
    return torch.cat([torch.tensor([first], dtype=torch.float64), rest])
