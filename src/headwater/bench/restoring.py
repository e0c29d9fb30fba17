"""DDRM and DPS at their papers' settings against their loops written out plainly, on the same network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from headwater.bench.network import SHIPPED, prior
from headwater.bench.row import Row
from headwater.bench.timing import alternate, relative_agreement
from headwater.core.timesteps import spaced
from headwater.methods.restoration.ddrm.method import DDRM
from headwater.methods.restoration.dps.method import DPS
from headwater.models.prior import Prior
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.operators import BlockAverage
from headwater.sampling import Run, timesteps_of

TOLERANCE = 1e-3
"""Of the largest pixel: over a thousand steps rounding adds up."""
FACTOR, NOISE, ETA, SCALE = 4, 0.1, 0.85, 0.3


@dataclass(frozen=True)
class Restoring:
    """Blocks of 4 x 4 pixels averaged, with noise: `apply` against a loop that knows this one task alone."""

    kind: Literal["DDRM", "DPS"]
    steps: int
    """Network calls: 20 in DDRM's paper, 1,000 in DPS's, there each with its gradient."""
    batch: int
    pairs: int
    side: int = 32
    architecture: UNetArchitecture = SHIPPED

    def rows(self, run: Run) -> list[Row]:
        """Check that both restore the same pictures from the same noise, then time them."""
        shared = prior(self.side, False, self.architecture)
        by = f"block-average {FACTOR}"
        method = (
            DDRM(by, NOISE, self.steps, ETA) if self.kind == "DDRM" else DPS(by, NOISE, SCALE, self.steps)
        )
        plain = _ddrm if self.kind == "DDRM" else _dps
        small = (self.batch, 1, self.side // FACTOR, self.side // FACTOR)
        y = torch.rand(small, generator=torch.Generator().manual_seed(0)) * 2 - 1
        quiet = Run(device="cpu", seed=0, batch_size=self.batch, progress=False)

        def ours() -> Tensor:
            return method.apply(shared, y, **quiet)

        def peer() -> Tensor:
            return plain(shared, y, self.steps, quiet)

        equal = relative_agreement(ours(), peer(), TOLERANCE, "pictures from the same noise")
        name = f"{self.kind} {self.steps} steps, batch {self.batch}"
        times = alternate(ours, peer, self.pairs, run, name, (self.steps, self.steps))
        gradient = "" if self.kind == "DDRM" else " and its gradient"
        return [
            times.row(
                name,
                sizes=f"seconds per network call{gradient}, {self.batch} x 1 x {self.side} x {self.side}, "
                f"U-Net of the shipped priors, fp32; {self.steps} of them restore a batch",
                peer="the paper's loop for this measurement alone, written out in torch "
                f"{torch.__version__}, calling the same module",
                equal=equal,
                slower="nearly all is the network, one and the same",
            )
        ]


def _called(shared: Prior, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """x0 and eps, as a network that predicts v tells them."""
    q = shared.process
    a, s = float(q.alpha[t]), float(q.sigma[t])
    v = shared.network(x, q.label[t].expand(len(x)).to(x))
    return a * x - s * v, s * x + a * v


@torch.no_grad()
def _ddrm(shared: Prior, y: Tensor, steps: int, run: Run) -> Tensor:
    q, a, draw = shared.process, BlockAverage(FACTOR), run.stream(len(y))
    plan = spaced(q.T, steps, "leading")
    first, singular = torch.zeros(FACTOR**2, dtype=torch.bool), 1 / FACTOR
    first[0] = True
    ybar, spread = a.recovered(y), NOISE / singular
    like = torch.empty(len(y), *shared.shape)
    alpha, level = float(q.alpha[plan[0]]), float(q.sigma[plan[0]] / q.alpha[plan[0]])
    z = a.coefficients(draw(like, plan[0]))
    x = alpha * a.image(torch.where(first, ybar + (level**2 - spread**2) ** 0.5 * z, level * z))
    for t, s in pairwise(plan):
        x0, eps = _called(shared, x, t)
        alpha, level = float(q.alpha[s]), float(q.sigma[s] / q.alpha[s])
        c, rest = a.coefficients(x0), (1 - ETA**2) ** 0.5 * level
        free = c + rest * a.coefficients(eps)
        near = spread <= level
        tied = ybar if near else c + rest * (ybar - c) / spread
        mean = torch.where(first, tied, free)
        if level == 0:
            return alpha * a.image(mean)
        std = (level**2 - spread**2) ** 0.5 if near else ETA * level
        z = a.coefficients(draw(like, s))
        x = alpha * a.image(mean + torch.where(first, std * z, ETA * level * z))
    return x


def _dps(shared: Prior, y: Tensor, steps: int, run: Run) -> Tensor:
    q, draw = shared.process, run.stream(len(y))
    plan = timesteps_of(q, steps)
    x = q.start(torch.empty(len(y), *shared.shape), draw)
    for t, s in pairwise(plan):
        x = x.detach().requires_grad_()
        x0, _ = _called(shared, x, t)
        residual = y - torch.nn.functional.avg_pool2d(x0, FACTOR)
        norm = residual.flatten(1).norm(dim=1).sum()
        (gradient,) = torch.autograd.grad(norm, x)
        bar, before = float(q.alpha[t]) ** 2, float(q.alpha[s]) ** 2
        beta = 1 - bar / before
        mean = before**0.5 * beta / (1 - bar) * x0 + (bar / before) ** 0.5 * (1 - before) / (1 - bar) * x
        mean = mean.detach() - SCALE * gradient
        std = (beta * (1 - before) / (1 - bar)) ** 0.5
        x = mean if s == 0 else mean + std * draw(mean, s)
    return x.detach()
