"""Training in bf16 with channels last, and compiled on top, against our own plain step of fp32."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import count

import torch

from headwater.bench.network import SHIPPED, stirred
from headwater.bench.row import Row
from headwater.bench.timing import agreement, alternate
from headwater.bench.training_step import TOLERANCE, TrainingStep
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run
from headwater.training import Recipe
from headwater.training.pictures import Pictures
from headwater.training.prior import Learner
from headwater.training.processes import Processes
from headwater.training.trainer import Trainer

_COMPARED = 3


@dataclass(frozen=True)
class TrainingMode:
    """The same recipe, weights and batches; what differs is how the network is evaluated."""

    compiled: bool
    batch: int
    steps: int
    """Steps in one measured run."""
    pairs: int
    side: int = 32
    architecture: UNetArchitecture = SHIPPED

    def rows(self, run: Run) -> list[Row]:
        """Check that the losses of the first steps agree, then time further ones.

        Where nothing can be compiled, say without a C++ compiler, the row has the plain step alone.
        """
        name = f"training step, bf16{', compiled' if self.compiled else ''}"
        usual = TrainingStep("fp32", self.batch, self.steps, self.pairs, self.side, self.architecture)
        recipe = usual.recipe()
        how = replace(recipe.training, precision="bf16", channels_last=True, compile=self.compiled)
        recipe = replace(recipe, training=how)
        fast, slow = self._built(recipe), self._built(usual.recipe())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            stirred(slow.network)
        fast.network.load_state_dict(slow.network.state_dict())
        begun = time.perf_counter()
        try:
            losses = [fast.update(0)["loss"]]
        except RuntimeError as error:  # what torch.compile raises
            if not self.compiled:
                raise
            alone = alternate(lambda: slow.update(0), lambda: None, self.pairs, run, name)
            failed = f"torch.compile failed here ({type(error).__name__}): this is the plain step in fp32"
            size = f"seconds per step, {self.batch} x 1 x {self.side} x {self.side}"
            return [alone.row_alone(name, sizes=size, peer=failed)]
        start_up = time.perf_counter() - begun
        losses += [fast.update(step)["loss"] for step in range(1, _COMPARED)]
        others = [slow.update(step)["loss"] for step in range(_COMPARED)]
        what = f"losses of {_COMPARED} equal batches"
        equal = agreement(torch.tensor(losses), torch.tensor(others), TOLERANCE["bf16"], what)
        numbers = count(_COMPARED), count(_COMPARED)

        def some(one: Trainer, number: count[int]) -> None:
            for _ in range(self.steps):
                one.update(next(number))

        times = alternate(
            lambda: some(fast, numbers[0]),
            lambda: some(slow, numbers[1]),
            self.pairs,
            run,
            name,
            (self.steps, self.steps),
        )
        row = times.row(
            name,
            sizes=f"seconds per step, {self.batch} x 1 x {self.side} x {self.side}, channels last",
            peer="our own step in fp32, contiguous, not compiled",
            equal=equal,
            slower="this processor has no fast bf16",
        )
        paid = f"{start_up / times.saved:.0f} steps" if times.saved > 0 else "never"
        said = f"{row.sizes}; the first step takes {start_up:.1f} s, earned back: {paid}"
        return [replace(row, sizes=said)]

    def _built(self, recipe: Recipe) -> Trainer:
        size = 256, 1, self.side, self.side
        pictures = torch.rand(size, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return Learner.of(recipe, Pictures(pictures)).trainer(Processes(torch.device("cpu")))
