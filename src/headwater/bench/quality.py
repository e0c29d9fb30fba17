"""How good samples are for how many network calls, solver by solver."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from headwater.bench.curve import Curve, Point
from headwater.core import (
    DDIM,
    Ancestral,
    Control,
    Denoiser,
    Diffusion,
    DPMSolver,
    Gaussian,
    Heun,
    Prediction,
    Sampler,
    last,
    reverse,
)
from headwater.core.schedule import betas
from headwater.core.timesteps import log_snr, network_calls, spaced
from headwater.core.transition import Transition
from headwater.data.shipped import Set, load
from headwater.metrics.classifier import train_classifier
from headwater.metrics.frechet import frechet_distance
from headwater.models.prior import Prior
from headwater.sampling import Run

SOLVERS: Mapping[str, Sampler] = {
    "DDPM": Ancestral(),
    "DDIM": DDIM(),
    "DPM-Solver++": DPMSolver(),
    "Heun": Heun(),
    "DPM-Solver++, log-SNR": DPMSolver(),
    "SDE-DPM-Solver++, log-SNR": DPMSolver(kind="sde"),
}
"""The last two are what `headwater sample` offers: steps even in log-SNR."""
Calls = Mapping[str, Sequence[int]]
"""Numbers of network calls to try, by the name of the solver."""
Features = Callable[[Tensor], Tensor]

CALLS: Calls = {
    "DDPM": (10, 20, 50, 100, 250),
    "DDIM": (5, 10, 20, 50, 100),
    "DPM-Solver++": (5, 10, 20, 50),
    "Heun": (5, 9, 19, 49),
    "DPM-Solver++, log-SNR": (10, 20, 50),
    "SDE-DPM-Solver++, log-SNR": (20, 50, 100),
}
LONG: Calls = {**CALLS, "DDPM": (10, 20, 50, 100, 250, 1000)}
GROUPS = 8


class Study(Protocol):
    """One prior, every solver."""

    def curve(self, run: Run) -> Curve: ...


def plan(solver: str, q: Diffusion, calls: int) -> list[int]:
    """Levels that cost so many network calls: even steps from T or in log-SNR, for Heun those of its paper.

    Heun asks twice a step but for the last: steps even in (sigma / alpha)^(1/7) from 80 to 0.002 (Karras et
    al. 2022, eq. 5), at the nearest levels that there are.
    """
    if solver.endswith("log-SNR"):
        return log_snr(q, calls)
    if solver != "Heun":
        return spaced(q.T, calls, "trailing")
    root = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), (calls + 1) // 2, dtype=torch.float64)
    away = (q.half_log_snr[1:][None] + 7 * root.log()[:, None]).abs()
    return [*sorted({int(t) + 1 for t in away.argmin(1)}, reverse=True), 0]


@dataclass(frozen=True)
class PriorQuality:
    """Frechet distance of `n` samples of a shipped prior to the pictures that it should draw.

    judge: `classifier` reads features of a classifier that is trained here on the training split, and
    compares with the test split; `cells` needs none: mean and standard deviation of each of 4 x 4 cells of a
    picture, a channel at a time, compared with the training pictures.
    """

    name: str
    n: int
    judge: Literal["classifier", "cells"]
    calls: Calls

    def curve(self, run: Run) -> Curve:
        """Draw with every solver from the same start noise; the error is a jackknife over groups."""
        prior = Prior.from_pretrained(self.name)
        true, features, measure = self._truth(prior)
        half = len(true) // 2
        points = []
        for solver, budgets in self.calls.items():
            for calls in budgets:
                walk = plan(solver, prior.process, calls)
                sampler = SOLVERS[solver]
                counted = network_calls(sampler.plan(walk))
                x = prior.sample(
                    self.n, walk, sampler, seed=0, device="cpu", batch_size=64, progress=run.progress
                )
                points.append(Point(solver, counted, *distance(features(x), true)))
        what = f"{measure}, {self.n} samples against {len(true)} pictures, squared"
        return Curve(f"prior {self.name}", what, tuple(points), frechet_distance(true[:half], true[half:]))

    def _truth(self, prior: Prior) -> tuple[Tensor, Features, str]:
        about, side = prior.config.about, prior.shape[1]
        data = str(about["data"])
        if self.judge == "cells":
            seen = load(data, str(about["split"]), side)
            return (
                cells(_shuffled(seen.images)),
                cells,
                "Frechet distance of 16 cells' means and deviations",
            )
        train, test = (cast(Set, load(data, split, side)) for split in ("train", "test"))
        judge = train_classifier(train.images, cast(Tensor, train.labels), 0)

        @torch.no_grad()
        def features(x: Tensor) -> Tensor:
            return torch.cat([judge.features(part) for part in x.split(256)])

        found = features(_shuffled(test.images))
        return found, features, "Frechet distance in a classifier of the training split"


@dataclass(frozen=True)
class ClosedForm:
    """Error of the solver alone: independent Gaussians of known width, whose best denoiser is a formula.

    The distance of the widths walked to from the true ones; no sample is drawn, so that it has no error.
    """

    calls: Calls
    widths: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)

    def curve(self, run: Run) -> Curve:
        """Walk the standard deviations down; the start is pure noise, of width 1."""
        q = Diffusion.vp(betas("cosine", 1000))
        true = torch.tensor(self.widths, dtype=torch.float64)

        def clean(x: Tensor, label: Tensor) -> Tensor:
            t = int(label[0]) + 1
            a, b = float(q.alpha[t]), float(q.sigma[t])
            return a * true.square() / (a * a * true.square() + b * b) * x

        model, points = Denoiser(clean, q, "x0"), []
        for solver, budgets in self.calls.items():
            for calls in budgets:
                walk, sampler = plan(solver, q, calls), SOLVERS[solver]
                start = torch.ones(1, len(true), dtype=torch.float64)
                found = last(reverse(model, start, walk, sampler, [_Width()])).abs()[0]
                counted = network_calls(sampler.plan(walk))
                points.append(Point(solver, counted, float((found - true).square().sum().sqrt()), 0.0))
        said = ", ".join(f"{width:g}" for width in self.widths)
        return Curve("Gaussians", f"distance of widths from {said}, cosine schedule", tuple(points), 0.0)


class _Width(Control):
    """Lets x hold standard deviations: those of a step's noise are added to them, instead of noise."""

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        if not isinstance(dist, Gaussian) or (not isinstance(dist.std, Tensor) and dist.std == 0):
            return dist
        spread = torch.as_tensor(dist.std).to(dist.mean)
        return Gaussian((dist.mean.square() + spread.square()).sqrt(), 0.0)


def cells(x: Tensor) -> Tensor:
    """(B, C, H, W) to means and standard deviations of 4 x 4 cells, (B, 32 C); sides are multiples of 4."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, 4, height // 4, 4, width // 4)
    return torch.cat([parts.mean((3, 5)), parts.std((3, 5))], 1).flatten(1)


def distance(found: Tensor, true: Tensor) -> tuple[float, float]:
    """Frechet distance of features (N, D) to (M, D), and its jackknife error over groups of samples."""
    groups = min(GROUPS, len(found) // 2)
    left_out = []
    for g in range(groups):
        keep = torch.arange(len(found)) % groups != g
        left_out.append(frechet_distance(found[keep], true))
    values = torch.tensor(left_out, dtype=torch.float64)
    error = math.sqrt((groups - 1) / groups * float((values - values.mean()).square().sum()))
    return frechet_distance(found, true), error


def _shuffled(x: Tensor) -> Tensor:
    """Halves of a set are then alike."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
