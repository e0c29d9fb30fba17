"""Noise schedules: tables of beta (variance-preserving) or sigma (variance-exploding), always float64.

Entry i of a table belongs to the step into level i + 1: levels count from 0 (clean data).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_MAX_BETA = 0.999
"""Largest beta of schedules given by alpha-bar (Nichol & Dhariwal 2021): a last beta of 1 has no inverse."""


def linear(T: int, start: float | None = None, end: float | None = None) -> Tensor:
    """Evenly spaced betas (Ho et al. 2020), by default 1e-4 .. 0.02 scaled by 1000 / T."""
    scale = 1000 / T
    return torch.linspace(
        scale * 1e-4 if start is None else start,
        scale * 0.02 if end is None else end,
        T,
        dtype=torch.float64,
    )


def scaled_linear(T: int, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Betas whose square roots are evenly spaced (latent diffusion's defaults)."""
    return torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64).square()


def quadratic(T: int, start: float = 1e-4, end: float = 0.5) -> Tensor:
    """The same law with CSDI's defaults (Tashiro et al. 2021)."""
    return scaled_linear(T, start, end)


def sigmoid(T: int, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """Betas along a logistic curve from -6 to 6 (GeoDiff; diffusers' `sigmoid`)."""
    return torch.linspace(-6, 6, T, dtype=torch.float64).sigmoid() * (end - start) + start


def from_alpha_bar(T: int, alpha_bar: Callable[[float], float]) -> Tensor:
    """beta_i = 1 - abar((i+1)/T) / abar(i/T), at most 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
    steps = (1 - alpha_bar((i + 1) / T) / alpha_bar(i / T) for i in range(T))
    return torch.tensor([min(beta, _MAX_BETA) for beta in steps], dtype=torch.float64)


def cosine(T: int) -> Tensor:
    """abar(u) = cos^2((u + 0.008) / 1.008 * pi / 2) (Nichol & Dhariwal 2021)."""
    return from_alpha_bar(T, lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2)


def cosine_unsquared(T: int) -> Tensor:
    """The cosine without its square, as D3PM's uniform chain uses it (Austin et al. 2021)."""
    return from_alpha_bar(T, lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2))


def sqrt(T: int) -> Tensor:
    """abar(u) = 1 - sqrt(u + 1e-4): noise early, for embeddings (Diffusion-LM, Li et al. 2022)."""
    return from_alpha_bar(T, lambda u: 1 - math.sqrt(min(u + 1e-4, 1.0)))


def reciprocal(T: int) -> Tensor:
    """beta_t = 1 / (T - t + 1): level t has a share t / T touched, the last one all (Sohl-Dickstein et al.
    2015; Austin et al. 2021 for absorbing chains). Its last beta is 1, so Gaussian chains cannot use it."""
    return 1 / torch.arange(T, 0, -1, dtype=torch.float64)


def truncated_cosine(T: int) -> Tensor:
    """The cosine with an offset of 0.1, its first step being 1 - abar(0): `trunc_cos` of Diffusion-LM."""

    def bar(u: float) -> float:
        return math.cos((u + 0.1) / 1.1 * math.pi / 2) ** 2

    first = torch.tensor([min(1 - bar(0), _MAX_BETA)], dtype=torch.float64)
    return torch.cat([first, from_alpha_bar(T, bar)[:-1]])


def truncated_linear(T: int) -> Tensor:
    """The linear betas raised by 0.01: `trunc_lin` of Diffusion-LM. Within 0 and 1 from T = 21 on."""
    scale = 1000 / T
    return linear(T, scale * 1e-4 + 0.01, scale * 0.02 + 0.01)


def karras(n: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """n sigmas from `low` up to `high`, evenly spaced in sigma^(1/rho) (Karras et al. 2022, eq. 5)."""
    if n == 1:
        return torch.tensor([high], dtype=torch.float64)
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    return (low ** (1 / rho) + ramp * (high ** (1 / rho) - low ** (1 / rho))) ** rho


def geometric(n: int, low: float = 0.01, high: float = 50.0) -> Tensor:
    """n sigmas in geometric progression (variance-exploding SDE, Song et al. 2021)."""
    return torch.logspace(math.log10(low), math.log10(high), n, dtype=torch.float64)


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """Shift and scale sqrt(abar) so that the last level is pure noise (Lin et al. 2023, Alg. 1)."""
    root = (1 - betas).cumprod(0).sqrt()
    bars = ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
    return 1 - torch.cat([bars[:1], bars[1:] / bars[:-1]])


BETAS: dict[str, Callable[..., Tensor]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "quadratic": quadratic,
    "sigmoid": sigmoid,
    "cosine": cosine,
    "cosine_unsquared": cosine_unsquared,
    "sqrt": sqrt,
    "truncated_cosine": truncated_cosine,
    "truncated_linear": truncated_linear,
}


def betas(name: str, T: int, **ends: float) -> Tensor:
    """The beta table of a named schedule; `start=` and `end=` where the schedule has them.

    Returns (T,) float64. Raises ValueError for an unknown name or ends that the schedule lacks.
    """
    if name not in BETAS:
        raise ValueError(f"unknown schedule {name!r}; choose one of {', '.join(BETAS)}")
    if T < 1:
        raise ValueError(f"a schedule needs at least one step, got {T}")
    try:
        return BETAS[name](T, **ends)
    except TypeError:
        raise ValueError(f"schedule {name!r} does not take {', '.join(ends)}") from None


_DIFFUSERS_NAMES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
}


def betas_of_scheduler(config: Mapping[str, Any]) -> Tensor:
    """The beta table that a diffusers scheduler_config.json describes, in float64.

    Raises ValueError for a schedule that is not one of diffusers' own.
    """
    T = int(config.get("num_train_timesteps", 1000))
    trained = config.get("trained_betas")
    name = str(config.get("beta_schedule", "linear"))
    if trained is not None:
        table = torch.tensor(trained, dtype=torch.float64)
    elif name not in _DIFFUSERS_NAMES:
        raise ValueError(
            f"unknown beta_schedule {name!r} in the scheduler config; known are {', '.join(_DIFFUSERS_NAMES)}"
        )
    elif name == "squaredcos_cap_v2":
        table = cosine(T)
    else:
        start, end = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
        table = betas(_DIFFUSERS_NAMES[name], T, start=start, end=end)
    return zero_terminal_snr(table) if config.get("rescale_betas_zero_snr") else table
