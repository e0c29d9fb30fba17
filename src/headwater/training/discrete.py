"""Training a network over categories on the bound of its discrete chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from headwater.discrete import DiscreteDenoiser
from headwater.noise import Purpose, White, derive, seeds
from headwater.sampling import Run
from headwater.training.config import TrainerConfig
from headwater.training.timesteps import stratified
from headwater.training.trainer import train


def fit_discrete(
    denoiser: DiscreteDenoiser,
    clean: Callable[[Tensor, int], Tensor],
    items: int,
    config: TrainerConfig,
    run: Run,
    about: Mapping[str, Any],
) -> nn.Module:
    """Train denoiser.network, an nn.Module, by `DiscreteDenoiser.loss`; returns it in eval mode.

    clean(rows, number): batch `number`, int64 (B, ...); items and rows: as in `train`. Timesteps are spread
    evenly over each batch. about: the settings that decide the result.
    """
    network, T = denoiser.network, denoiser.process.T
    if not isinstance(network, nn.Module):
        raise TypeError("only an nn.Module can be trained")

    def loss(net: nn.Module, rows: Tensor, number: int) -> Tensor:
        x0 = clean(rows, number).to(run.device)
        noise = White().stream(seeds(run.seed, Purpose.CHAIN_NOISE, number, n=len(x0)))
        draws = torch.Generator().manual_seed(derive(run.seed, Purpose.CHAIN_TIMESTEPS, number))
        t = stratified(len(x0), T, torch.rand((), generator=draws, dtype=torch.float64) / len(x0))
        return replace(denoiser, network=net).loss(x0, t, noise).mean()

    return train(network, loss, items, config, run, about)
