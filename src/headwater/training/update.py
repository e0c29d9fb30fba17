"""What follows a backward pass, for every training here."""

from __future__ import annotations

import math

import torch
from torch import nn

from headwater.training.average import Average
from headwater.training.drive import NotFiniteError, Pace, learning_rate
from headwater.training.sharding import whole


def move(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    pace: Pace,
    step: int,
    loss: float,
    clip: float = 0.0,
) -> float:
    """Clip the gradients to a norm (0: leave them), move the weights, then the average; returns the norm.

    Raises NotFiniteError, with all weights unchanged, where the loss or the norm is not finite.
    """
    norm = float(whole(nn.utils.clip_grad_norm_(network.parameters(), clip if clip > 0 else math.inf)))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NotFiniteError(f"loss {loss}, gradient norm {norm} at step {step + 1}")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(pace, step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if average is not None:
        average.update(network, step + 1)
    return norm
