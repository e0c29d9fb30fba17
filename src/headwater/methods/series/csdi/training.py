"""CSDI's loss: predict the noise of hidden cells from the given ones (Tashiro et al. 2021, eq. 9)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headwater.core import Diffusion
from headwater.core.prediction import labels
from headwater.methods.series.csdi.windows import Windows
from headwater.noise import Stream, White, derive
from headwater.sampling import Run
from headwater.training.timesteps import at

_TRAINING = 0x43534449
"""Purpose of the seed, apart from the order of windows and the draws of `apply`."""


def training_draws(run: Run, step: int, batch: int) -> Stream:
    """Everything random about the items of one step: masks, levels, noise."""
    return White().stream([derive(run.seed, _TRAINING, step, i) for i in range(batch)])


def masked_loss(network: nn.Module, q: Diffusion, x: Windows, known: Tensor, draws: Stream) -> Tensor:
    """`masked_error` at uniform timesteps with fresh noise."""
    t = at(draws.uniform(x.values[:, 0, 0]), q.T)
    return masked_error(network, q, x, known, t, draws(x.values))


def masked_error(
    network: nn.Module, q: Diffusion, x: Windows, known: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """Squared error of the noise over the targets, divided by their number in the whole batch; a scalar.

    Targets are the cells that are observed and not `known` (B, K, L) bool; t (B,) levels, eps (B, K, L).
    """
    target = x.observed & ~known
    noisy = q.combine(x.values, eps, t)
    side = network.side(x.times, known)  # type: ignore[operator]
    out = network(noisy, labels(q.label, t, noisy), side, x.values, known)
    error = (out - eps).square().where(target, torch.zeros_like(eps))
    return error.sum() / target.sum().clamp(min=1)
