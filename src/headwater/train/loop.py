"""The training loop. What it computes is decided by the recipe alone; when it stops is not."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from headwater.core.denoiser import Denoiser
from headwater.core.noise import derive
from headwater.errors import UserError, need
from headwater.priors.prior import Prior
from headwater.train import checkpoint, sheet
from headwater.train.average import Average
from headwater.train.dropout import Keys, install
from headwater.train.feed import Batch, Feed, Pictures
from headwater.train.journal import Journal
from headwater.train.pictures import gather
from headwater.train.recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

_GAMMA = 5.0
"""Min-SNR's clamp (Hang et al. 2023, sec. 3.4)."""
_EXEMPT = ("log_every", "sample_every", "checkpoint_every", "keep")
"""Fields that may differ on resume: they leave the weights alone."""
_INIT, _SHEET = 11, 12


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of update `step` (0-based): linear warm-up, then constant or half a cosine to 0."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    if recipe.decay == "none":
        return recipe.lr * warm
    return recipe.lr * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def level_weights(recipe: Recipe, half_log_snr: Tensor) -> Tensor:
    """Weight of each level's loss, (T+1,) float32, for the network's own target.

    min-snr: min(snr, 5) in units of the x0 error, so divided by snr for eps and snr + 1 for v
    (Hang et al. 2023, eq. 8 and sec. 3.4). Entry 0 is never used.
    """
    snr = (2 * half_log_snr).exp()
    snr[0] = 1.0
    if recipe.weighting == "simple":
        return torch.ones_like(snr, dtype=torch.float32)
    clamped = snr.clamp(max=_GAMMA)
    by = {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}[recipe.predicts]
    return (clamped / by.clamp(min=1e-20)).float()


@dataclass
class Progress:
    """How far a training is, beside its tensors."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """The objects of one training, built the same way at every start."""

    recipe: Recipe
    accelerator: Accelerator
    feed: Feed
    prior: Prior
    """Its network is the running average."""
    network: nn.Module
    """The trained weights."""
    model: Callable[..., Tensor]
    """The trained network as it is called: wrapped for several processes, compiled."""
    optimizer: torch.optim.Optimizer
    average: Average
    keys: Keys
    weights: Tensor

    @property
    def state(self) -> checkpoint.State:
        """What a checkpoint keeps."""
        return checkpoint.State(self.network, self.average.network, self.optimizer)

    def denoiser(self) -> Denoiser:
        """The trained network read as the recipe says, in the recipe's precision."""

        def call(x: Tensor, label: Tensor, **cond: Any) -> Tensor:
            if self.recipe.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            with self.accelerator.autocast():
                return self.model(x, label, **cond)

        return replace(self.prior.denoiser, network=call)

    def update(self, step: int) -> tuple[float, float]:
        """One optimiser step; returns the mean loss and the gradient norm over the global batch."""
        r, denoiser = self.recipe, self.denoiser()
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(r.grad_accumulation):
            batch = self.feed.batch(step, self._rows(part))
            final = part + 1 == r.grad_accumulation
            alone = self.accelerator.num_processes == 1
            with nullcontext() if final or alone else self.accelerator.no_sync(self.model):
                loss = self._loss(denoiser, batch) / r.grad_accumulation
                loss.backward()
            total += loss.detach()
        mean = float(self.accelerator.reduce(total, "mean"))
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), r.grad_clip))
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise FloatingPointError(step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(r, step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.network, step + 1)
        return mean, norm

    def _loss(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        device = self.accelerator.device
        self.keys.value = batch.keys.to(device)
        cond = {k: v.to(device) for k, v in batch.cond.items()}
        losses = denoiser.loss(batch.x0.to(device), batch.t.to(device), batch.eps.to(device), **cond)
        return (losses * self.weights[batch.t].to(device)).mean()

    def _rows(self, part: int) -> range:
        """The rows of the global batch that this process computes in one part."""
        size = self.recipe.batch // self.recipe.grad_accumulation
        mine = size // self.accelerator.num_processes
        first = part * size + self.accelerator.process_index * mine
        return range(first, first + mine)


def build(recipe: Recipe, pictures: Pictures, device: str) -> Training:
    """Fresh weights and everything around them; the weights depend on the recipe alone."""
    from accelerate import Accelerator

    accelerator = Accelerator(
        cpu=device == "cpu", mixed_precision="bf16" if recipe.precision == "bf16" else "no"
    )
    world = accelerator.num_processes
    need(
        recipe.batch % (world * recipe.grad_accumulation) == 0,
        f"a batch of {recipe.batch} does not split evenly over {world} processes in "
        f"{recipe.grad_accumulation} parts: change batch",
    )
    config = recipe.prior_config(pictures.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.seed, _INIT))
        network = config.build_network()
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    network = network.to(accelerator.device).to(memory_format=layout).train()
    average = Average(copy.deepcopy(network).eval().requires_grad_(False), recipe.ema)
    keys = install(network)
    model: Any = network if world == 1 else accelerator.prepare_model(network)
    if recipe.compile:
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.lr, recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )
    prior = Prior(average.network, config)
    feed = Feed(recipe, pictures, prior.process, prior.noise)
    weights = level_weights(recipe, prior.process.half_log_snr.clone())
    return Training(recipe, accelerator, feed, prior, network, model, optimizer, average, keys, weights)


def fit(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    max_minutes: float | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Prior:
    """Train a prior as the recipe says; returns it with its averaged weights.

    Writes into `out`: recipe.yaml, log.jsonl, checkpoints/, samples/, prior/ (the result).
    resume: go on from the newest whole checkpoint, if there is one; on the CPU the weights are then
        bit-identical to those of a training that was never interrupted.
    max_minutes: stop after this time with a checkpoint; what was computed does not depend on it.
    Raises UserError for data, folders, recipes or losses that make going on impossible.
    """
    out = Path(out)
    try:
        return _fit(recipe, out, resume, max_minutes, device, progress)
    except OSError as error:
        raise UserError(
            f"cannot write to {out} ({error.strerror or error}): free space or choose another folder, "
            "then resume"
        ) from error


def _fit(
    recipe: Recipe, out: Path, resume: bool, max_minutes: float | None, device: str, progress: bool
) -> Prior:
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoint.newest(folder)
    need(resume or found is None, f"{out} already holds a training: resume it or choose another folder")
    pictures = gather(recipe)
    training = build(recipe, pictures, device)
    now = Progress()
    if found is not None:
        saved = checkpoint.about(found)
        _same_recipe(recipe, saved["recipe"], out)
        checkpoint.restore(found, training.state)
        now = Progress(saved["step"], saved["seconds"], saved["losses"], saved["norms"])
    if training.accelerator.is_main_process:
        recipe.save(out / "recipe.yaml")
        journal = Journal(out / "log.jsonl", now.step)
    else:
        journal = None
    finished = _run(training, now, out, journal, max_minutes, progress)
    prior = _with_card(training, now)
    if finished and training.accelerator.is_main_process:
        _deliver(prior, out)
    return prior


def _run(
    training: Training,
    now: Progress,
    out: Path,
    journal: Journal | None,
    max_minutes: float | None,
    progress: bool,
) -> bool:
    """Train until done (True) or out of time (False)."""
    from tqdm import tqdm

    r = training.recipe
    begun = last_save = time.monotonic()
    before, logged, logged_at = now.seconds, now.step, begun
    bar = tqdm(
        total=r.steps, initial=now.step, desc="training", unit="step", disable=not (progress and journal)
    )
    saved = now.step
    with bar:
        while now.step < r.steps:
            try:
                loss, norm = training.update(now.step)
            except FloatingPointError:
                good = checkpoint.newest(out / "checkpoints")
                where = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
                raise UserError(
                    f"the loss is not finite at step {now.step + 1}: lower lr or use precision fp32; {where}"
                ) from None
            now.step += 1
            now.losses.append(loss)
            now.norms.append(norm)
            clock = time.monotonic()
            now.seconds = before + clock - begun
            if now.step % r.log_every == 0 or now.step == r.steps:
                speed = (now.step - logged) * r.batch / max(clock - logged_at, 1e-9)
                line = _line(r, now, speed)
                logged, logged_at = now.step, clock
                now.losses.clear()
                now.norms.clear()
                if journal:
                    journal.write(line)
                    bar.set_postfix_str(f"loss {line['loss']:.4f}, {speed:.0f} images/s")
            bar.update()
            if journal and r.sample_every and now.step % r.sample_every == 0:
                _sample(training, out, now.step)
                logged_at += time.monotonic() - clock
            stop = _out_of_time(training, max_minutes, begun)
            if clock - last_save >= r.checkpoint_every or stop:
                _save(training, now, out, journal)
                last_save, saved = time.monotonic(), now.step
            if stop and now.step < r.steps:
                return False
    if saved < now.step:
        _save(training, now, out, journal)
    return True


def _line(recipe: Recipe, now: Progress, speed: float) -> dict[str, Any]:
    return {
        "step": now.step,
        "loss": sum(now.losses) / len(now.losses),
        "lr": learning_rate(recipe, now.step - 1),
        "grad_norm": sum(now.norms) / len(now.norms),
        "images_per_second": round(speed, 1),
        "seconds": round(now.seconds, 1),
    }


def _out_of_time(training: Training, max_minutes: float | None, begun: float) -> bool:
    """Whether to stop; all processes follow the first one's clock."""
    if max_minutes is None:
        return False
    over = torch.tensor(float(time.monotonic() - begun >= max_minutes * 60))
    if training.accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        over = broadcast(over.to(training.accelerator.device))
    return bool(over)


def _save(training: Training, now: Progress, out: Path, journal: Journal | None) -> None:
    if journal is None:
        return
    about = {
        "recipe": training.recipe.to_dict(),
        "seconds": now.seconds,
        "losses": now.losses,
        "norms": now.norms,
        "versions": {"torch": torch.__version__},
    }
    checkpoint.save(out / "checkpoints", now.step, training.state, about, training.recipe.keep)


def _sample(training: Training, out: Path, step: int) -> None:
    images = sheet.draw(training.prior, 32, derive(training.recipe.seed, _SHEET))
    sheet.write(out / "samples" / f"step-{step:08d}.png", images)


def _same_recipe(recipe: Recipe, saved: dict[str, Any], out: Path) -> None:
    mine, theirs = _flat(recipe.to_dict()), _flat(saved)
    for name in dict.fromkeys([*mine, *theirs]):
        if name not in _EXEMPT and mine.get(name) != theirs.get(name):
            raise UserError(
                f"{name} is {mine.get(name)!r} but the training in {out} has {theirs.get(name)!r}: "
                "resume with the same recipe or choose another folder"
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _with_card(training: Training, now: Progress) -> Prior:
    r = training.recipe
    about = {
        "data": r.data,
        "split": r.split,
        "licence": training.feed.pictures.licence,
        "pictures": len(training.feed.pictures.images),
        "steps": now.step,
        "images_seen": now.step * r.batch,
        "minutes": round(now.seconds / 60, 1),
        "recipe": r.to_dict(),
    }
    return Prior(training.prior.network, replace(training.prior.config, about=about))


def _deliver(prior: Prior, out: Path) -> None:
    prior.save_pretrained(out / "prior")
    sheet.write(out / "samples" / "final.png", sheet.draw(prior, 64, seed=0))
