"""A training step of SR3 and of Palette against a plain loop of the same network."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor, nn

from headwater.bench.network import stirred
from headwater.bench.row import Row
from headwater.bench.timing import agreement, alternate
from headwater.bench.training_step import TOLERANCE
from headwater.methods.restoration.palette.method import FittedPalette, Palette, PaletteConfig
from headwater.methods.restoration.shared.pictured import (
    Betas,
    Pairs,
    Pictured,
    PicturedConfig,
    pictured_loss,
)
from headwater.methods.restoration.sr3.method import SR3, FittedSR3, resized
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.level_unet import LevelUNetConfig
from headwater.sampling import Run
from headwater.training import TrainerConfig
from headwater.training.processes import Processes
from headwater.training.trainer import Trainer

_COMPARED, _PICTURES, _T = 3, 64, 2000


@dataclass(frozen=True)
class PicturedStep:
    """`Trainer.update` on what either method trains on, against a loop that draws batches of the same kind by
    torch's own generator: levels between two timesteps, noise, AdamW, clipped gradients, averaged weights."""

    kind: Literal["SR3", "Palette"]
    batch: int
    steps: int
    """Steps in one measured run."""
    pairs: int
    side: int = 32
    width: tuple[int, ...] = (1, 2, 2)

    def rows(self, run: Run) -> list[Row]:
        """Check that the losses of the first steps agree on the same batches, then time further steps."""
        draws = torch.Generator().manual_seed(0)
        image = torch.rand(_PICTURES, 3, self.side, self.side, generator=draws) * 2 - 1
        fitted, shown = self._sr3(image) if self.kind == "SR3" else self._palette(image)
        stirred(fitted.network)
        how = TrainerConfig(2000, self.batch, 1e-4, grad_clip=1.0, ema=0.999)
        peer = Plain(deepcopy(fitted.network), shown, fitted.config, how)
        seen: list[tuple[Tensor, ...]] = []

        def noted(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            """The loss as it is, and what the network was called with."""

            def called(x: Tensor, level: Tensor, features: Tensor) -> Tensor:
                seen.append((x.detach(), level, features, rows, torch.tensor(number)))
                return network(x, level, features=features)

            return loss(called, rows, number)  # pyright: ignore[reportArgumentType]

        loss = pictured_loss(fitted, shown, "l2", run)
        ours = Trainer(fitted.network, noted, _PICTURES, how, 0, Processes(torch.device("cpu")))
        losses = [(ours.update(step)["loss"], peer.again(*seen[-1])) for step in range(_COMPARED)]
        mine, theirs = torch.tensor(losses).T
        equal = agreement(mine, theirs, TOLERANCE["fp32"], f"losses of {_COMPARED} equal batches")
        ours = Trainer(ours.network, loss, _PICTURES, how, 0, Processes(torch.device("cpu")))
        number = count(_COMPARED)

        def some(one: Any) -> None:
            for _ in range(self.steps):
                one()

        name = f"{self.kind} training step"
        times = alternate(
            lambda: some(lambda: ours.update(next(number))), lambda: some(peer.step),
            self.pairs, run, name, (self.steps, self.steps),
        )  # fmt: skip
        parameters = sum(p.numel() for p in fitted.network.parameters()) / 1e6
        return [
            times.row(
                name,
                sizes=f"seconds per step, {self.batch} x 3 x {self.side} x {self.side}, network of "
                f"{parameters:.1f} M parameters, fp32",
                peer=f"a loop written out in torch {torch.__version__}, same module and same kind of batch, "
                "AdamW, weights averaged with foreach",
                equal=equal,
                slower="nearly all is the network, the same on both sides; levels and noise of each sample "
                "are functions of the seed and its number",
            )
        ]

    def _sr3(self, image: Tensor) -> tuple[Pictured, Pairs]:
        sizes = LevelUNetConfig(32, self.width, 1, (4,), in_channels=6)
        config = PicturedConfig(sizes, (3, self.side, self.side), Betas(_T), factor=4)
        small = resized(SR3(factor=4).small(image), self.side, self.side)
        return FittedSR3.fresh(config, 0), lambda rows, number: (small[rows], image[rows])

    def _palette(self, image: Tensor) -> tuple[Pictured, Pairs]:
        sizes = asdict(UNetArchitecture(32, self.width, 1, (4,), num_head_channels=32))
        network = UNetConfig(in_channels=6, out_channels=3, **sizes)
        method = Palette()
        config = PaletteConfig(network, (3, self.side, self.side), Betas(_T), 2, tasks=method.tasks)
        return FittedPalette.fresh(config, 0), method.pairs(image, None, method.tasks, 0)


class Plain:
    """One update at a time, with torch's own optimiser and draws."""

    def __init__(self, network: nn.Module, pairs: Pairs, config: PicturedConfig, how: TrainerConfig) -> None:
        self.network, self.pairs, self.how, self.power = network.train(), pairs, how, config.power
        self.table = config.betas.signal().square()
        self.optimizer = torch.optim.AdamW(network.parameters(), how.lr, how.betas, weight_decay=0.0)
        self.average = [p.detach().clone() for p in network.parameters()]
        self.number = count()

    def step(self) -> float:
        """One step with draws of its own; returns the loss."""
        rows = torch.randint(_PICTURES, (self.how.batch_size,))
        seen, x0, *known = self.pairs(rows, next(self.number))
        t = torch.randint(1, _T + 1, (len(x0),))
        gamma = torch.lerp(self.table[t - 1], self.table[t], torch.rand(len(x0), dtype=torch.float64))
        eps = torch.randn_like(x0)
        g = gamma.float().reshape(-1, 1, 1, 1)
        x = g.sqrt() * x0 + (1 - g).sqrt() * eps
        x = x0.where(known[0], x) if known else x
        told = gamma.float() if self.power == 2 else gamma.sqrt().float()
        return self.update(x, told, seen, eps, *known)

    def again(self, x: Tensor, told: Tensor, seen: Tensor, rows: Tensor, number: Tensor) -> float:
        """The step that ours took: the noise follows from what the network was called with."""
        _, x0, *known = self.pairs(rows, int(number))
        g = (told if self.power == 2 else told.square()).double().reshape(-1, 1, 1, 1)
        eps = ((x - g.sqrt() * x0) / (1 - g).sqrt()).float()
        return self.update(x, told, seen, eps, *known)

    def update(
        self, x: Tensor, told: Tensor, seen: Tensor, eps: Tensor, known: Tensor | None = None
    ) -> float:
        """One step on a given batch."""
        error = (self.network(x, told, features=seen) - eps).square()
        loss = (error if known is None else error.masked_fill(known, 0)).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.how.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        held = [p.detach() for p in self.network.parameters()]
        torch._foreach_lerp_(self.average, held, 1 - self.how.ema)  # pyright: ignore
        return float(loss.detach())
