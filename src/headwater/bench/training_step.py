"""A training step against a plain diffusers training loop, on the same network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.bench.network import SHIPPED, as_diffusers, stirred
from headwater.bench.row import Row
from headwater.bench.surroundings import installed
from headwater.bench.timing import agreement, alternate
from headwater.models.config import ProcessConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run
from headwater.training import Recipe, TrainerConfig
from headwater.training.pictures import Pictures
from headwater.training.prior import Learner
from headwater.training.processes import Processes

TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
_COMPARED = 3


@dataclass(frozen=True)
class TrainingStep:
    """`Trainer.update` against the steps of diffusers' own example of unconditional training.

    Both draw pictures, levels and noise, train on L_simple for eps with AdamW, clip gradients at 1 and keep
    an average of the weights.
    """

    precision: Literal["fp32", "bf16"]
    batch: int
    steps: int
    """Steps in one measured run."""
    pairs: int
    side: int = 32
    architecture: UNetArchitecture = SHIPPED

    def rows(self, run: Run) -> list[Row]:
        """Check that the losses of the first steps agree on the same batches, then time further steps."""
        pictures = (
            torch.rand(256, 1, self.side, self.side, generator=torch.Generator().manual_seed(0)) * 2 - 1
        )
        recipe = self.recipe()
        learner = Learner.of(recipe, Pictures(pictures))
        ours = learner.trainer(Processes(torch.device("cpu")))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            stirred(ours.network)
        copy = recipe.prior_config().build_network()
        copy.load_state_dict(ours.network.state_dict())
        with Plain(copy, pictures, recipe) as peer:
            losses: list[tuple[float, float]] = []
            for step in range(_COMPARED):
                b = learner.batch(ours.rows(step), step)
                losses.append((ours.update(step)["loss"], peer.update(b.x0, b.t - 1, b.eps)))
            mine, theirs = torch.tensor(losses).T
            equal = agreement(mine, theirs, TOLERANCE[self.precision], f"losses of {_COMPARED} equal batches")
            number = count(_COMPARED)

            def some(one: Any) -> None:
                for _ in range(self.steps):
                    one()

            name = f"training step, {self.precision}"
            times = alternate(
                lambda: some(lambda: ours.update(next(number))),
                lambda: some(peer.step),
                self.pairs,
                run,
                name,
                (self.steps, self.steps),
            )
        parameters = sum(p.numel() for p in copy.parameters()) / 1e6
        last = ", channels last" if recipe.training.channels_last else ""
        return [
            times.row(
                name,
                sizes=f"seconds per step, {self.batch} x 1 x {self.side} x {self.side}, ADM U-Net of "
                f"{parameters:.1f} M parameters, {self.precision}{last}",
                peer=f"the loop of the example of diffusers {installed('diffusers')}, accelerate "
                f"{installed('accelerate')}, AdamW, EMAModel with foreach, same module and precision{last}",
                equal=equal,
                slower="nearly all is the network, the same on both sides; levels and noise of each sample "
                "are functions of the seed and its number",
            )
        ]

    def recipe(self) -> Recipe:
        """What ours trains by."""
        return Recipe(
            data="bench",
            shape=(1, self.side, self.side),
            network=self.architecture,
            process=ProcessConfig(betas="linear"),
            training=TrainerConfig(
                2000, self.batch, 1e-4, grad_clip=1.0, ema=0.999, precision=self.precision,
                channels_last=self.precision == "bf16",
            ),
        )  # fmt: skip


class Plain:
    """The loop of diffusers' train_unconditional.py, one update at a time. Leaves no accelerate state."""

    def __init__(self, network: nn.Module, pictures: Tensor, recipe: Recipe) -> None:
        from accelerate import Accelerator
        from diffusers.optimization import get_scheduler
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
        from diffusers.training_utils import EMAModel
        from torch.utils.data import DataLoader, TensorDataset

        _forget_accelerate()
        how = recipe.training
        self.accelerator = Accelerator(cpu=True, mixed_precision="bf16" if how.precision == "bf16" else "no")
        layout = torch.channels_last if how.channels_last else torch.contiguous_format
        model = as_diffusers(network, recipe.shape[1]).to(memory_format=layout).train()
        self.scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
        self.average = EMAModel(
            model.parameters(), decay=how.ema, use_ema_warmup=True, inv_gamma=1.0, power=0.75, foreach=True
        )
        optimizer = torch.optim.AdamW(
            model.parameters(), how.lr, how.betas, weight_decay=how.weight_decay, eps=1e-8
        )
        loader = DataLoader(TensorDataset(pictures), batch_size=how.batch_size, shuffle=True, drop_last=True)
        rate = get_scheduler("constant", optimizer)
        self.model, self.optimizer, self.loader, self.rate = self.accelerator.prepare(
            model, optimizer, loader, rate
        )
        self.batches = self._endless()

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        _forget_accelerate()

    def _endless(self) -> Iterator[Tensor]:
        while True:
            for (batch,) in self.loader:
                yield batch

    def step(self) -> float:
        """One step with draws of its own; returns the loss."""
        clean = next(self.batches)
        noise = torch.randn(clean.shape, device=clean.device)
        levels = torch.randint(0, len(self.scheduler.betas), (len(clean),), device=clean.device)
        return self.update(clean, levels, noise)

    def update(self, clean: Tensor, timesteps: Tensor, noise: Tensor) -> float:
        """One step on a given batch, timesteps counted from 0."""
        noisy: Any = self.scheduler.add_noise(clean, noise, timesteps)  # pyright: ignore[reportArgumentType]
        with self.accelerator.accumulate(self.model):
            out = self.model(noisy, timesteps).sample
            loss = F.mse_loss(out.float(), noise.float())
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.rate.step()
            self.optimizer.zero_grad()
        if self.accelerator.sync_gradients:
            self.average.step(self.model.parameters())
        return loss.detach().item()


def _forget_accelerate() -> None:
    """An Accelerator's precision is the process's until its state is dropped."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
