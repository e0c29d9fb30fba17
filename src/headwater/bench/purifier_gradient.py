"""The exact gradient of DiffPure: activations computed again, against plain autograd through the walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from headwater.bench.network import SHIPPED, prior
from headwater.bench.row import Row
from headwater.bench.timing import alternate, relative_agreement
from headwater.bench.weighing import peak
from headwater.core import ReverseSDE, last, reverse
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.models.prior import Prior
from headwater.sampling import Run

TOLERANCE = 1e-5
"""Of the largest entry of the gradient."""


@dataclass(frozen=True)
class PurifierGradient:
    """Gradient of a purified picture's square by the attacked picture, for an attack that sees all."""

    steps: int
    batch: int
    pairs: int
    side: int = 32
    depth: int = 3
    """Levels of the network: 3 as in the shipped priors, less for a test."""

    def rows(self, run: Run) -> list[Row]:
        """Check that both give the same gradient, time them, and weigh each in a process of its own."""
        ours, peer = self.work("ours"), self.work("plain")
        found, plain = ours(), peer()
        equal = relative_agreement(found, plain, TOLERANCE, "gradients")
        del found, plain
        name = f"DiffPure gradient, {self.steps} steps"
        times = alternate(ours, peer, self.pairs, run, name)
        return [
            times.row(
                name,
                sizes=f"seconds per gradient through {self.steps} steps of the reverse SDE, "
                f"{self.batch} x 1 x {self.side} x {self.side}, U-Net of the shipped priors, fp32; memory "
                "beyond the network",
                peer=f"plain autograd of torch {torch.__version__} through the same walk",
                equal=equal,
                peaks=(peak(self, "ours"), peak(self, "plain")),
                slower="the network runs once more per step, so that its activations need not be kept",
            )
        ]

    def small(self) -> Self:
        """One picture of 8 x 8, two steps."""
        return replace(self, steps=2, batch=1, side=8)

    def work(self, way: str) -> Callable[[], Tensor]:
        """The gradient, (batch, 1, side, side), `ours` or `plain`."""
        multiples = SHIPPED.channel_mult[: self.depth]
        shared = prior(self.side, False, replace(SHIPPED, channel_mult=multiples))
        shared.network.requires_grad_(False)
        method = DiffPure(steps=self.steps)
        shape = self.batch, 1, self.side, self.side
        attacked = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

        def gradient() -> Tensor:
            x = attacked.clone().requires_grad_()
            noise = Run(device="cpu", seed=0).stream(self.batch)
            washed = method.purify(shared, x, noise) if way == "ours" else _plain(method, shared, x, noise)
            return torch.autograd.grad(washed.square().sum(), x)[0]

        return gradient


def _plain(method: DiffPure, shared: Prior, x: Tensor, noise: object) -> Tensor:
    """The walk of `DiffPure.purify`, which autograd remembers whole."""
    plan = method.plan(shared.process.T)
    return last(reverse(shared.denoiser, x, plan, ReverseSDE(), (), noise, keep_graph=True))  # pyright: ignore[reportArgumentType]
