"""Denoisers whose answers are known exactly, and noise that is read from a tape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from headwater.core import Ancestral, Control, Diffusion, Prediction
from headwater.core.prediction import labels
from headwater.core.transition import Level, fit
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.noise import Noise, White

F64 = torch.float64


class Exact:
    """The exact denoiser of data that follow N(mean, std^2), each element on its own."""

    def __init__(self, process: Diffusion, mean: Any, std: Any) -> None:
        self.process = process
        self.mean, self.std = torch.as_tensor(mean, dtype=F64), torch.as_tensor(std, dtype=F64)
        self.calls: list[tuple[Level, Tensor]] = []

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        self.calls.append((t, x))
        a, b = (fit(v, x) for v in self.process.scales(t))
        mean, var = self.mean.to(x.dtype), self.std.to(x.dtype) ** 2
        x0 = (a * var * x + b * b * mean) / (a * a * var + b * b)
        return Prediction(x, t, x0, labels(self.process.label, t, x), a, b)


class Memory:
    """The exact denoiser of a finite data set (n, ...): the posterior mean over its members."""

    def __init__(self, process: Diffusion, data: Tensor) -> None:
        self.process, self.data = process, data

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        a, b = (fit(v, x) for v in self.process.scales(t))
        gap = (x.flatten(1)[:, None] - a * self.data.flatten(1)[None]).square().sum(-1)
        weights = (-gap / (2 * b * b)).softmax(-1)
        x0 = (weights @ self.data.flatten(1)).reshape(x.shape)
        return Prediction(x, t, x0, labels(self.process.label, t, x), a, b)


class ExactNetwork(nn.Module):
    """The exact noise predictor of pictures N(mean, std^2) (C, H, W) under the process of a prior."""

    def __init__(self, config: PriorConfig, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        q = config.process.build()
        self.alpha, self.sigma, self.mean, self.std = q.alpha, q.sigma, mean, std

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        a, b = (v[label.long() + 1].to(x).reshape(-1, 1, 1, 1) for v in (self.alpha, self.sigma))
        return b * (x - a * self.mean) / (a * a * self.std**2 + b * b)


def gaussian_prior(mean: Tensor, std: Tensor, T: int = 300) -> Prior:
    """A whole prior of pictures N(mean, std^2), (C, H, W) each, for methods that look at its config."""
    config = PriorConfig({"kind": "adm"}, tuple(mean.shape), ProcessConfig(T=T), clip=False)  # pyright: ignore
    return Prior(ExactNetwork(config, mean, std), config)


class Sum(nn.Module):
    """Logits that add up pixels, so that the gradient of a logit is the slope of what is in front of it."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([total, -total], 1)


def prior_of(denoiser: Any, noise: Noise | None = None, controls: Sequence[Control] = ()) -> Prior:
    """What methods ask of a prior, around a denoiser in closed form."""
    asked = {"process": denoiser.process, "noise": noise or White(), "controls": list(controls)}
    asked |= {"sampler": Ancestral(), "network": nn.Identity(), "check": lambda image: None}
    return cast(Prior, SimpleNamespace(denoiser=denoiser, **asked))


class Tape:
    """Noise read from a recorded run, one field per call, in the order in which it was drawn."""

    def __init__(self, draws: Iterable[Tensor]) -> None:
        self.draws = iter(draws)

    def __call__(self, like: Tensor, level: Level = 0) -> Tensor:
        return next(self.draws).to(like)


class Uniforms:
    """Uniform draws read from a tape, one for each category, as the references draw: Gumbel-max decides."""

    def __init__(self, draws: Iterable[Tensor]) -> None:
        self.draws = iter(draws)

    def __call__(self, like: Tensor, level: Any = 0) -> Tensor:
        raise TypeError("a discrete chain draws uniforms only")

    def uniform(self, like: Tensor) -> Tensor:
        return next(self.draws).clamp(min=torch.finfo(torch.float32).tiny)

    def choose(self, logits: Tensor) -> Tensor:
        return (logits - (-self.uniform(logits).log()).log()).argmax(-1)


def halves(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise images (n, 3, 16, 16) whose lower, brighter part is class 1, and the labels (n, 16, 16)."""
    truth = torch.zeros(n, 16, 16, dtype=torch.long)
    cuts, noise = (torch.Generator().manual_seed(seed + shift) for shift in (0, 100))
    for i, cut in enumerate(torch.randint(4, 12, (n,), generator=cuts).tolist()):
        truth[i, cut:] = 1
    drawn = torch.randn(n, 3, 16, 16, generator=noise)
    return (truth[:, None] - 0.5 + 0.2 * drawn).clamp(-1, 1), truth
