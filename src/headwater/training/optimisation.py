"""Training any network with any loss: what methods that bring their own network stand on."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from headwater.errors import UserError, need
from headwater.noise import derive
from headwater.sampling import Run
from headwater.training import checkpoint
from headwater.training.average import Average
from headwater.training.drive import Decay, NotFiniteError, Progress, drive
from headwater.training.journal import Journal
from headwater.training.memory import Memory
from headwater.training.processes import Processes, processes
from headwater.training.stop import Stop
from headwater.training.update import move

Loss = Callable[[nn.Module, int], Tensor]
"""(network, step) -> mean loss of batch `step` (0-based), a scalar with a graph.

What it draws is a function of a seed and the step alone, or of torch's global generator, which is seeded
anew before every batch: so a training that was interrupted goes on as if it had not been."""

_STEP = 0x53544550
"""Purpose of the seed of each batch's draws (dropout)."""
_KEPT = 2
"""Checkpoints kept."""


@dataclass(frozen=True)
class Optimisation:
    """How a network is trained with AdamW. Raises UserError for numbers that cannot be."""

    steps: int = 10_000
    """Optimiser steps."""
    batch: int = 64
    """Items per batch."""
    lr: float = 1e-4
    """Peak learning rate."""
    warmup: int = 0
    """Steps over which the learning rate rises linearly."""
    decay: Decay = "none"
    """After warm-up: constant, to 0 in a line or along half a cosine, or a tenth at 75 % and at 90 %."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decays of AdamW's moments."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    grad_clip: float = 0.0
    """Largest norm of the gradient; 0 does not clip."""
    ema: float = 0.0
    """Decay of the weight average that is returned; 0 returns the last weights."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; weights and optimiser stay in fp32."""
    log_every: int = 50
    """Steps per line of the log."""
    checkpoint_every: float = 120.0
    """Seconds between checkpoints."""
    batches: int = 1
    """Batches per step, whose gradients are averaged; processes under torchrun share them."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "batches", "lr", "log_every"):
            need(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: give a positive number")
        need(0 <= self.ema < 1, f"ema is {self.ema}: give a decay from 0 to below 1")


def train(
    network: nn.Module, loss: Loss, how: Optimisation, run: Run, about: Mapping[str, Any] | None = None
) -> nn.Module:
    """Train `network` in place on run.device; returns its average (or itself) in eval mode, frozen.

    With run.checkpoint_dir, checkpoints and log.jsonl go there, and the training goes on from the newest
    one; on the CPU the weights are then bit-identical to those of one that was never interrupted. about:
    plain values that decide the result beside `how` and the seed, such as the method's other settings.

    Under torchrun each process computes its share of a step's `how.batches` and the first one keeps the
    checkpoints; the weights are those of one process, to float rounding.

    Raises UserError where run.checkpoint_dir holds a training with other settings, the loss is not finite, or
    the processes cannot share the work.
    """
    with processes(run.device) as team:
        return _train(network, loss, how, run, about, team)


def _train(
    network: nn.Module,
    loss: Loss,
    how: Optimisation,
    run: Run,
    about: Mapping[str, Any] | None,
    team: Processes,
) -> nn.Module:
    device = team.device
    need(
        how.batches % team.count == 0,
        f"a step has batches {how.batches}, which {team.count} processes cannot share evenly: give a "
        f"multiple of {team.count}, each with fewer items",
    )
    network = network.to(device).train()
    average = Average(copy.deepcopy(network).eval().requires_grad_(False), how.ema) if how.ema else None
    optimizer = torch.optim.AdamW(
        network.parameters(), how.lr, how.betas, weight_decay=how.weight_decay, fused=True
    )
    job = _Job(network, loss, how, run.seed, optimizer, average, team)
    settings = _plain({**(about or {}), "seed": run.seed, "training": dataclasses.asdict(how)})
    now, shelf = Progress(), None
    if run.checkpoint_dir is not None:
        now = _continued(job, run.checkpoint_dir, settings)
        if team.first:
            shelf = _Shelf(
                job, run.checkpoint_dir, settings, Journal(run.checkpoint_dir / "log.jsonl", now.step)
            )
    with Stop() as stop:
        try:
            drive(job, now, shelf, stop, progress=run.progress and team.first)
        except NotFiniteError as error:
            raise UserError(f"{error}: lower lr or use precision fp32") from None
    return (network if average is None else average.network).eval().requires_grad_(False)


@dataclass(frozen=True)
class _Job:
    network: nn.Module
    loss: Loss
    pace: Optimisation
    seed: int
    optimizer: torch.optim.Optimizer
    average: Average | None
    team: Processes

    def update(self, step: int) -> tuple[float, float]:
        mine, total = self.pace.batches // self.team.count, 0.0
        first = step * self.pace.batches + self.team.index * mine
        before = [buffer._version for buffer in self.network.buffers()]
        for number in range(first, first + mine):
            total += self._differentiate(number)
        after = [buffer._version for buffer in self.network.buffers()]
        need(
            self.team.count == 1 or before == after,
            "this network keeps count of what it has seen, which processes cannot share: train it in one",
        )
        for module in self.network.modules():
            if isinstance(module, Memory):
                module.settle(self.team.gathered(module.noted()))
        self.team.add_gradients(self.network)
        mean = self.team.mean(torch.tensor(total * self.team.count, device=self.team.device))
        return mean, move(
            self.network, self.optimizer, self.average, self.pace, step, mean, self.pace.grad_clip
        )

    def _differentiate(self, number: int) -> float:
        """Add a batch's part of the gradient; returns its part of the mean loss."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, _STEP, number))
            with torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.pace.precision == "bf16"):
                value = self.loss(self.network, number) / self.pace.batches
            value.backward()
        return float(value.detach())

    def agree(self, flag: bool) -> bool:
        return self.team.any(flag)

    @property
    def state(self) -> checkpoint.State:
        average = self.network if self.average is None else self.average.network
        return checkpoint.State(self.network, average, self.optimizer)


@dataclass(frozen=True)
class _Shelf:
    job: _Job
    folder: Path
    settings: dict[str, Any]
    journal: Journal

    def log(self, line: dict[str, Any]) -> None:
        self.journal.write(line)

    def look(self, step: int) -> bool:
        return False

    def checkpoint(self, now: Progress) -> None:
        about = {"settings": self.settings, **now.to_dict(), "versions": {"torch": torch.__version__}}
        checkpoint.save(self.folder, now.step, self.job.state, about, _KEPT)


def _continued(job: _Job, folder: Path, settings: dict[str, Any]) -> Progress:
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoint.newest(folder)
    if found is None:
        return Progress()
    saved = checkpoint.about(found)
    theirs = saved.get("settings", {})
    # What a checkpoint of an earlier version does not know was as it is by default.
    standard = _plain(dataclasses.asdict(Optimisation()))
    theirs = {**theirs, "training": {**standard, **theirs.get("training", {})}}
    other = [name for name in {**theirs, **settings} if theirs.get(name) != settings.get(name)]
    need(
        not other,
        f"{folder} holds a training with another {', '.join(other)}: go on with the same settings or choose "
        "another folder",
    )
    checkpoint.restore(found, job.state)
    return Progress(saved["step"], saved["seconds"], saved["losses"], saved["norms"])


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    return json.loads(json.dumps(values, default=str))
