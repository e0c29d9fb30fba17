"""The trainer: any network, any loss, exact resume. What it computes never depends on when it stops."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from headwater.errors import UserError, need
from headwater.noise import Purpose, derive
from headwater.progress import ProgressBar
from headwater.sampling import Run
from headwater.training import checkpoint
from headwater.training.blocks import recomputed, shard, whole
from headwater.training.config import TrainerConfig, first_beta, learning_rate
from headwater.training.ema import EMA
from headwater.training.journal import Journal
from headwater.training.processes import Processes, processes
from headwater.training.stop import Stop
from headwater.training.timesteps import LossSecondMoment

Loss = Callable[[nn.Module, Tensor, int], Tensor]
"""(network, rows, number) -> mean loss of the items `rows` (batch_size,) int64, a scalar with a graph.

What it draws is a function of a seed and the batch's number alone, or of torch's global generator, which is
seeded anew before every batch: so a training that was interrupted goes on as if it had not been. Only the
network that it is handed may be called: held-out losses are those of the average."""

_HELD_NUMBER = 1 << 48
"""Number of the first held-out batch: its draws are none of the training's."""
_LEAVES = (
    "log_every", "sample_every", "checkpoint_every", "checkpoints", "sharded", "gradient_checkpointing",
)  # fmt: skip
"""Settings that may differ on resume: they leave the weights alone."""


class NotFiniteError(ArithmeticError):
    """The loss or its gradient is not a number; the weights were left alone."""


class OutOfTime(Exception):
    """The training stopped after `max_minutes`, with a checkpoint."""


@dataclass(frozen=True)
class Adversary:
    """A second optimiser for one part of the network, which works against the rest (a discriminator).

    In each step the rest moves first, by the loss of `train`, with this part frozen; then this part, by its
    own loss of the same batches.
    """

    part: str
    """Name of the submodule that it trains, such as `discriminator`."""
    loss: Loss
    lr: float = 1e-4
    """Peak learning rate; it takes the same course as the other."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Decays of its AdamW's moments."""
    start: int = 0
    """First step (0-based) at which it is trained."""


@dataclass
class Progress:
    """How far a training is, beside its tensors."""

    step: int = 0
    seconds: float = 0.0
    values: dict[str, list[float]] = field(default_factory=dict)
    """Losses and norms since the last line of the log."""
    best: float = math.inf
    """Lowest held-out loss so far."""


def step_noise(like: Tensor, t: Any = 0) -> Tensor:
    """Gaussian noise for a loss: of the global generator, so it depends on the number of the batch alone.

    A `NoiseSource`.
    """
    return torch.randn_like(like)


def train(
    network: nn.Module,
    loss: Loss,
    items: int,
    config: TrainerConfig,
    run: Run,
    about: Mapping[str, Any] | None = None,
    *,
    adversary: Adversary | None = None,
    max_minutes: float | None = None,
    after: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Train `network` in place on run.device; returns its average, best or last state, in eval mode, frozen.

    items: how many there are to learn from. Batches go through all of them in one random order after another;
        0 where the loss draws what it learns from itself, and `rows` is empty.
    about: plain values that decide the result beside `config` and the seed, such as the method's settings.
    max_minutes: stop after this time with a checkpoint, as Ctrl-C does, and raise OutOfTime.
    after: called with the network as it would be returned, and the number of steps done, after every step;
        never where weights are sharded.

    With run.checkpoint_dir, checkpoints and log.jsonl go there, and the training goes on from the newest
    one; on the CPU the weights are then bit-identical to those of one that was never interrupted.

    Under torchrun each process computes its share of a step's `grad_accumulation` batches and the first one
    keeps the checkpoints; the weights are those of one process, to float rounding.

    Raises UserError where run.checkpoint_dir holds a training with other settings or cannot be written, the
    loss is not finite, or the processes cannot share the work.
    """
    with processes(run.device) as team, writing(run.checkpoint_dir):
        trainer = Trainer(network, loss, items, config, run.seed, team, adversary)
        settings = _plain({**(about or {}), "seed": run.seed, "training": dataclasses.asdict(config)})
        trainer.train(run.checkpoint_dir, settings, run.progress and team.first, max_minutes, after)
        return trainer.result()


@contextmanager
def writing(folder: Path | None) -> Iterator[None]:
    """A disk that is full, or a folder that cannot be made, said in one sentence."""
    try:
        yield
    except OSError as error:
        if folder is None:
            raise
        raise UserError(
            f"cannot write to {folder} ({error.strerror or error}): free space or choose another folder, "
            "then resume"
        ) from error


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, n: int) -> list[int]:
    """A permutation of 0 .. n-1 for each epoch."""
    generator = torch.Generator().manual_seed(derive(seed, Purpose.ORDER, epoch))
    return torch.randperm(n, generator=generator).tolist()


def batch_rows(seed: int, n: int, batch_size: int, number: int) -> Tensor:
    """Rows (batch_size,) int64 of batch `number` (0-based) among n items."""
    where = (divmod(number * batch_size + j, n) for j in range(batch_size))
    return torch.tensor([order(seed, epoch, n)[place] for epoch, place in where])


class _Objective(nn.Module):
    """A network under a loss: so that sharded weights are whole whatever the loss calls of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, loss: Loss, rows: Tensor, number: int) -> Tensor:
        return loss(self.network, rows, number)


class Trainer:
    """The objects of one training; `update` is one step of it. Raises UserError where parts do not fit."""

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        items: int,
        config: TrainerConfig,
        seed: int,
        team: Processes,
        adversary: Adversary | None = None,
    ) -> None:
        count = config.grad_accumulation
        need(
            count % team.count == 0,
            f"a step has grad_accumulation {count}, which {team.count} processes cannot share evenly: give a "
            f"multiple of {team.count}, with smaller batches",
        )
        self.config, self.seed, self.team, self.loss, self.adversary = config, seed, team, loss, adversary
        self.spread = config.sharded and team.count > 1
        need(
            not (self.spread and config.compile),
            "a sharded network is not compiled: leave one of the two out",
        )
        need(not (self.spread and adversary), "an adversarial training is not sharded: leave sharded out")
        self._divide(items)
        # What is sharded moves when its shares are known.
        self.network = network.to("cpu" if self.spread else team.device).train()
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.ema = EMA(_copied(network), config.ema) if config.ema else None
        self.best = _copied(network) if config.keep_best else None
        self._whole = _copied(network) if self.spread else None
        self._trained = _Objective(network)
        self._shown = self._trained if self.ema is None else _Objective(self.ema.network)
        if self.spread:
            for module in dict.fromkeys([self._trained, self._shown, self.best]):
                if module is not None:
                    shard(module, team)
        if config.compile:
            for part in network.values() if isinstance(network, nn.ModuleDict) else (network,):
                part.compile()
        self.optimizers = self._optimizers()

    def _divide(self, items: int) -> None:
        held = self.config.held_out_count(items) if items else 0
        need(items > 0 or not self.config.held_out, "these items are drawn anew each time: leave held_out 0")
        generator = torch.Generator().manual_seed(derive(self.seed, Purpose.HELD_OUT))
        mixed = torch.randperm(items, generator=generator) if held else torch.arange(items)
        self.held, self.seen = mixed[:held], mixed[held:]

    def _optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        config, second = self.config, self.adversary
        theirs = [] if second is None else list(self.network.get_submodule(second.part).parameters())
        apart = {id(p) for p in theirs}
        mine = [p for p in self.network.parameters() if id(p) not in apart]
        first = torch.optim.AdamW(mine, config.lr, config.betas, weight_decay=config.weight_decay, fused=True)
        if second is None:
            return (first,)
        return first, torch.optim.AdamW(theirs, second.lr, second.betas, weight_decay=0.0, fused=True)

    @property
    def state(self) -> checkpoint.State:
        """What a checkpoint keeps."""
        kept = {"ema": self.ema and self.ema.network, "best": self.best}
        copies = {name: module for name, module in kept.items() if module is not None}
        return checkpoint.State(self.network, copies, self.optimizers)

    def result(self) -> nn.Module:
        """The network that the training gives, whole, in eval mode, frozen; all processes call this."""
        shown = self._shown.network if self.best is None else self.best
        if self._whole is not None:
            shares = shown.state_dict()
            self._whole.load_state_dict({name: whole(value).cpu() for name, value in shares.items()})
            shown = self._whole
        return shown.eval().requires_grad_(False)

    def update(self, step: int) -> dict[str, float]:
        """Optimiser step `step` (0-based): mean loss and gradient norm over all batches of the step.

        Raises NotFiniteError, with these weights unchanged, where one of them is not finite.
        """
        second = self.adversary
        if second is None:
            values = self._move(0, self.loss, step, self.config.lr, self.config.betas[0])
        else:
            part = self.network.get_submodule(second.part).requires_grad_(False)
            values = self._move(0, self.loss, step, self.config.lr, self.config.betas[0])
            part.requires_grad_(True)
            if step >= second.start:
                found = self._move(1, second.loss, step, second.lr, second.betas[0])
                values["adversary_loss"] = found["loss"]
        if self.ema is not None:
            self.ema.update(self.network, step + 1)
        return values

    def _move(self, which: int, loss: Loss, step: int, peak: float, beta: float) -> dict[str, float]:
        config, team, optimizer = self.config, self.team, self.optimizers[which]
        mine, total = config.grad_accumulation // team.count, 0.0
        first = step * config.grad_accumulation + team.index * mine
        before = [buffer._version for buffer in self.network.buffers()]
        with recomputed(self.network) if config.gradient_checkpointing else nullcontext():
            for number in range(first, first + mine):
                total += self._differentiate(loss, number)
        need(
            team.count == 1 or before == [buffer._version for buffer in self.network.buffers()],
            "this network keeps count of what it has seen, which processes cannot share: train it in one",
        )
        for module in self.network.modules():
            if isinstance(module, LossSecondMoment):
                for note in team.gathered(module.noted()):
                    module.record(*note)
        if not self.spread:
            team.add_gradients(self.network)
        value = team.mean(torch.tensor(total * team.count, device=team.device))
        moved = [p for group in optimizer.param_groups for p in group["params"]]
        norm = float(whole(nn.utils.clip_grad_norm_(moved, config.grad_clip or math.inf)))
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NotFiniteError(f"loss {value}, gradient norm {norm} at step {step + 1}")
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, peak)
            group["betas"] = (first_beta(config, step, beta), group["betas"][1])
        optimizer.step()
        # A generator's gradient also passes through what works against it.
        self.network.zero_grad(set_to_none=True)
        return {"loss": value, "grad_norm": norm}

    def rows(self, number: int) -> Tensor:
        """The items of batch `number`, (batch_size,) int64, none of them held out."""
        seen = self.seen
        return seen[batch_rows(self.seed, len(seen), self.config.batch_size, number)] if len(seen) else seen

    def _differentiate(self, loss: Loss, number: int) -> float:
        """Add a batch's part of the gradient; returns its part of the mean loss."""
        with self._draws(number):
            value = self._trained(loss, self.rows(number), number) / self.config.grad_accumulation
        # Shards are averaged over the processes, whole gradients are added up.
        (value * self.team.count if self.spread else value).backward()
        return float(value.detach())

    @contextmanager
    def _draws(self, number: int) -> Iterator[None]:
        """Draws and arithmetic of a batch; torch's generator is afterwards as it was."""
        half = self.config.precision == "bf16"
        with (
            torch.random.fork_rng(devices=[]),
            torch.autocast(self.team.device.type, torch.bfloat16, enabled=half),
        ):
            torch.manual_seed(derive(self.seed, Purpose.STEP, number))
            yield

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss of the held-out items, by the network that is shown; the same draws each time."""
        network, total = self._shown.network, 0.0
        training = network.training
        network.eval()
        for number, rows in enumerate(self.held.split(self.config.batch_size), _HELD_NUMBER):
            with self._draws(number):
                total += float(self._shown(self.loss, rows, number)) * len(rows)
        network.train(training)
        for module in network.modules():
            if isinstance(module, LossSecondMoment):
                module.noted()  # what is held out teaches nothing
        return self.team.shared(total / len(self.held))

    @torch.no_grad()
    def _keep(self, now: Progress, value: float) -> None:
        if self.best is not None and value < now.best:
            for kept, better in zip(
                self.best.state_dict().values(), self._shown.network.state_dict().values(), strict=True
            ):
                kept.copy_(better)
        now.best = min(now.best, value)

    def train(
        self,
        folder: Path | None,
        settings: dict[str, Any],
        progress: bool = False,
        max_minutes: float | None = None,
        after: Callable[[nn.Module, int], None] | None = None,
    ) -> None:
        """Update, evaluate, log and keep until all steps are done. Raises as the function `train` says."""
        now = Progress() if folder is None else self._continued(folder, settings)
        with Stop() as stop:
            try:
                done = self._loop(now, folder, settings, stop, progress, max_minutes, after)
            except NotFiniteError as error:
                good = folder and checkpoint.newest(folder)
                last = f"; the last good checkpoint is {good}" if good else ""
                raise UserError(f"{error}: lower lr or use precision fp32{last}") from None
        if not done:
            raise OutOfTime(f"stopped after {now.step} of {self.config.steps} steps")

    def _loop(
        self,
        now: Progress,
        folder: Path | None,
        settings: dict[str, Any],
        stop: Stop,
        progress: bool,
        max_minutes: float | None,
        after: Callable[[nn.Module, int], None] | None,
    ) -> bool:
        config, team = self.config, self.team
        journal = Journal(folder / "log.jsonl", now.step) if folder and team.first else None
        begun = saved_at = logged_at = time.monotonic()
        before, logged = now.seconds, now.step
        until = math.inf if max_minutes is None else begun + 60 * max_minutes
        with ProgressBar(config.steps, "training", done=now.step, unit="steps", shown=progress) as bar:
            while now.step < config.steps:
                for name, value in self.update(now.step).items():
                    now.values.setdefault(name, []).append(value)
                now.step += 1
                clock = time.monotonic()
                now.seconds = before + clock - begun
                last = now.step == config.steps
                found, note = {}, ""
                if len(self.held) and (last or now.step % config.evaluate_every == 0):
                    found["held_out"] = self.evaluate()
                    self._keep(now, found["held_out"])
                if last or found or now.step % config.log_every == 0:
                    items = (now.step - logged) * config.batch_size * config.grad_accumulation
                    line = self._line(now, items / max(clock - logged_at, 1e-9)) | found
                    now.values.clear()
                    if journal:
                        journal.write(line)
                    note = f"loss {line['loss']:.4f}, {line['items_per_second']:.0f} items/s"
                    logged, logged_at = now.step, time.monotonic()
                bar.update(note=note)
                if after and team.first and not self.spread:
                    look = time.monotonic()
                    after(self._shown.network, now.step)
                    logged_at += time.monotonic() - look
                leave = team.any(stop.asked is not None or clock >= until)
                due = team.any(clock - saved_at >= config.checkpoint_every)
                if folder and (due or leave or last):
                    self._save(folder, now, settings)
                    saved_at = time.monotonic()
                if leave and not last:
                    return False
        return True

    def _line(self, now: Progress, speed: float) -> dict[str, Any]:
        means = {name: sum(values) / len(values) for name, values in now.values.items()}
        return {
            "step": now.step,
            "loss": means.pop("loss"),
            "lr": learning_rate(self.config, now.step - 1),
            **means,
            "items_per_second": round(speed, 1),
            "seconds": round(now.seconds, 1),
        }

    def _save(self, folder: Path, now: Progress, settings: dict[str, Any]) -> None:
        if not (self.team.first or self.spread):
            return
        about = {**dataclasses.asdict(now), "settings": settings, "versions": {"torch": torch.__version__}}
        about["best"] = now.best if math.isfinite(now.best) else None
        checkpoint.save(folder, now.step, self.state, about, self.config.checkpoints, self.team.first)

    def _continued(self, folder: Path, settings: dict[str, Any]) -> Progress:
        folder.mkdir(parents=True, exist_ok=True)
        found = checkpoint.newest(folder)
        if found is None:
            return Progress()
        saved = checkpoint.about(found)
        mine, theirs = _flat(settings), _flat(saved.get("settings", {}))
        for name in dict.fromkeys([*mine, *theirs]):
            need(
                name.rpartition(".")[2] in _LEAVES or mine.get(name) == theirs.get(name),
                f"{name} is {mine.get(name)!r} but the training in {folder} has {theirs.get(name)!r}: "
                "go on with the same settings or choose another folder",
            )
        checkpoint.restore(found, self.state)
        best = math.inf if saved["best"] is None else saved["best"]
        return Progress(saved["step"], saved["seconds"], saved["values"], best)


def _copied(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval().requires_grad_(False)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    return cast("dict[str, Any]", json.loads(json.dumps(values, default=str)))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
