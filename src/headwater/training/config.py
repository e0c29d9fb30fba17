"""How anything is trained: one frozen dataclass, and the schedules of the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from headwater.errors import need

Decay = Literal["none", "linear", "cosine", "step", "onecycle"]
"""After warm-up: constant; to 0 in a line or along half a cosine; a tenth at 75 % and at 90 %; or torch's
OneCycleLR, which has a warm-up of its own."""


@dataclass(frozen=True)
class TrainerConfig:
    """How a network is trained with AdamW. Raises UserError for numbers that cannot be."""

    steps: int = 10_000
    """Number of optimiser steps."""
    batch_size: int = 64
    """Items per batch."""
    lr: float = 1e-4
    """Peak learning rate."""
    warmup: int = 0
    """Number of steps over which the learning rate rises linearly."""
    decay: Decay = "none"
    """Course of the learning rate after warm-up: constant, to 0 in a line or along half a cosine, a tenth at
    75 % and at 90 %, or one cycle (Smith & Topin 2019), which warms up by itself."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decays of AdamW's moments."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    grad_clip: float = 0.0
    """Largest norm of the gradient; 0 does not clip."""
    ema: float = 0.0
    """Decay of the weight average that is returned; it starts at min(ema, (1 + k) / (10 + k)) at step k, and
    0 returns the last weights."""
    grad_accumulation: int = 1
    """Batches per step, whose gradients are averaged; processes under torchrun share them."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; weights, optimiser and average stay in fp32."""
    channels_last: bool = False
    """Store features pixel by pixel, which is faster with bf16."""
    compile: bool = False
    """Compile the network, which is faster after about a minute of compilation."""
    gradient_checkpointing: bool = False
    """Compute each block's features again in the backward pass instead of keeping them: less memory, more
    time, the same numbers."""
    sharded: bool = False
    """Leave each process under torchrun a share of the weights, for networks too large for one device."""
    held_out: float = 0.0
    """Items that are never trained on and whose loss is logged: a share below 1, or their number."""
    evaluate_every: int = 500
    """Steps between two evaluations of the held-out loss."""
    keep_best: bool = False
    """Return the weights of the lowest held-out loss instead of the last ones."""
    log_every: int = 50
    """Steps per line of the log."""
    checkpoint_every: float = 120.0
    """Seconds between checkpoints."""
    checkpoints: int = 2
    """Number of checkpoints kept."""

    def __post_init__(self) -> None:
        for name in (
            "steps", "batch_size", "grad_accumulation", "lr", "evaluate_every", "log_every", "checkpoints",
        ):  # fmt: skip
            need(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: give a positive number")
        need(0 <= self.ema < 1, f"ema is {self.ema}: give a decay from 0 to below 1")
        need(self.grad_clip >= 0, f"grad_clip is {self.grad_clip}: give a positive number, or 0 for none")
        need(self.held_out >= 0, f"held_out is {self.held_out}: give a share, a number, or 0 for none")
        need(self.held_out > 0 or not self.keep_best, "keep_best wants held-out items: give held_out")
        need(
            self.decay != "onecycle" or (self.warmup == 0 and self.steps > 1),
            "decay onecycle warms up by itself and takes 2 steps or more: leave warmup 0",
        )

    def held_out_count(self, items: int) -> int:
        """How many of so many items are held out. Raises UserError where too few are left or none is."""
        count = round(self.held_out * items) if self.held_out < 1 else int(self.held_out)
        good = self.held_out == 0 or 0 < count < items
        need(good, f"held_out {self.held_out} of {items} items holds out {count}: leave some on both sides")
        return count


def learning_rate(config: TrainerConfig, step: int, peak: float | None = None) -> float:
    """The rate of update `step` (0-based): warm-up times decay, from config.lr or another peak."""
    peak = config.lr if peak is None else peak
    if config.decay == "onecycle":
        return _cycle(config.steps, step, peak / 25, peak, peak / 25 * 1e-4)
    rate = peak * min(1.0, (step + 1) / max(1, config.warmup))
    done = step / config.steps
    match config.decay:
        case "none":
            return rate
        case "linear":
            return rate * (1 - done)
        case "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * done))
        case "step":
            return rate * 0.1 ** ((done >= 0.75) + (done >= 0.9))


def first_beta(config: TrainerConfig, step: int, beta: float) -> float:
    """Decay of AdamW's first moment: `beta`, but against the rate's cycle in one-cycle training."""
    return _cycle(config.steps, step, 0.95, 0.85, 0.95) if config.decay == "onecycle" else beta


def _cycle(steps: int, step: int, start: float, peak: float, end: float) -> float:
    """torch's OneCycleLR with its defaults: half a cosine up over 30 % of the steps, half a cosine down."""
    turn = 0.3 * steps - 1
    if step <= turn:
        a, b, done = start, peak, step / turn
    else:
        a, b, done = peak, end, (step - turn) / (steps - 1 - turn)
    return b + (a - b) / 2 * (1 + math.cos(math.pi * done))
