"""Training a network over categories on the bound of its discrete chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from headwater.discrete import DiscreteDenoiser
from headwater.noise import White, derive, seeds
from headwater.sampling import Run
from headwater.training.optimisation import Optimisation, train

_CORRUPTION, _LEVELS = 0x44334E, 0x44334C
"""Purposes of the seeds of corrupted tokens and of levels."""


def fit_discrete(
    denoiser: DiscreteDenoiser,
    clean: Callable[[int], Tensor],
    how: Optimisation,
    run: Run,
    about: Mapping[str, Any],
) -> nn.Module:
    """Train denoiser.network, an nn.Module, by `DiscreteDenoiser.loss`; returns it in eval mode.

    clean(step): the batch of update `step`, int64 (B, ...). Levels are spread evenly over each batch, so
    that every level is as likely and the loss varies less. about: the settings that decide the result.
    """
    network, T = denoiser.network, denoiser.process.T
    if not isinstance(network, nn.Module):
        raise TypeError("only an nn.Module can be trained")

    def loss(net: nn.Module, step: int) -> Tensor:
        x0 = clean(step).to(run.device)
        noise = White().stream(seeds(run.seed, _CORRUPTION, step, n=len(x0)))
        t = spread_levels(len(x0), T, derive(run.seed, _LEVELS, step))
        return replace(denoiser, network=net).loss(x0, t, noise).mean()

    return train(network, loss, how, run, about)


def spread_levels(n: int, T: int, seed: int) -> Tensor:
    """n levels of 1 .. T, each uniform, one in each n-th of the range: (n,) int64."""
    place = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((torch.arange(n, dtype=torch.float64) + place) * T / n).long().clamp(max=T - 1) + 1
