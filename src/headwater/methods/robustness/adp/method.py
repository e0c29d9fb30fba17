"""ADP: wash an attack out by a few steps along a score, each as long as the score's own slope allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from headwater.core import Denoises, Gaussian, Prediction, Sampler
from headwater.core.sampler import State
from headwater.core.transition import Transition, fit
from headwater.core.views import exploding
from headwater.errors import need
from headwater.methods.base import Paper
from headwater.methods.robustness.shared.purifies import Purifies
from headwater.models import Prior
from headwater.noise import Stream


@dataclass(frozen=True)
class ADP(Purifies):
    """Add noise to a picture once, then follow the score without any more, in a few steps whose length each
    picture sets for itself (Yoon et al. 2021, Alg. 1). All in the units of pictures in [0, 1]:

        x <- clip(x + sigma z, 0, 1)                                                                once
        g = f(x),  g' = f(x + delta g),  slope = (1 - <g, g'> / <g, g>) / delta                `steps` times
        x <- clip(x + a g, 0, 1),        a = clip(fraction / slope, shortest, longest);  stop where a <= stop

    Along g the field shrinks by `slope` per unit of a, so a goes a given fraction of the way to where it
    would vanish. f is minus the noise that the prior sees in x, sigma times its score, as in the authors'
    code. Their network is not told how much noise there is, nor is a prior that `headwater fit prior` trains
    with `--process.kind ve --process.unit-labels`: its field is as long however little noise is left, so that
    steps are long until none is, and then short. Any other prior is told the timestep nearest to sigma in
    every step: its field shrinks as it is followed, and ten steps with a fraction of 0.1 go 65 % of the way.
    `Purified(classifier, prior, ADP(), paths=10)` averages ten answers.

    With units "score" f is the score itself, longer by 1 / sigma. A step then goes as far as before, since a
    is shorter by as much; only the limits on a, and the probe, are in other units.

    Deviates from the reference code: pictures are not moved between 255ths and 256ths, where the code's state
    leaves the grid that its network expects after the first step, and finished pictures drift. The loop has
    all its steps, also where every picture has finished before. Gradients are exact, through the lengths of
    steps too; the code has none. Its noise of two values, two noise levels of a detector (adp_decision) and
    noise in proportion to the score (adp_uq) are not here.

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:2]
    >>> purified = hw.ADP(steps=2, fraction=0.5).apply(prior, image, seed=0)
    >>> purified.shape
    torch.Size([2, 1, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="Adversarial Purification with Score-based Generative Models",
        authors="Jongmin Yoon, Sung Ju Hwang, Juho Lee",
        year=2021,
        venue="ICML",
        arxiv="2106.06041",
        code="jmyoon1/adp",
        claim="A few deterministic steps of adaptive length along a score, after noise is added once, "
        "withstand strong attacks, and the more such purifications are averaged the better.",
    )

    sigma: float = 0.25
    """Standard deviation of the noise that is added, for pictures in [0, 1]."""
    steps: int = 10
    """Number of steps at most, two network calls each."""
    fraction: float = 0.05
    """Share of the way to where the field would vanish that a step goes (lambda)."""
    delta: float = 0.001
    """Length of the probe by which the slope of the field is measured."""
    shortest: float = 1e-5
    """Length of the shortest step, which is taken too where the field grows along itself."""
    longest: float = 0.1
    """Length of the longest step."""
    stop: float = 0.001
    """Length of a step at or below which a picture is finished."""
    units: Literal["noise", "score"] = "noise"
    """Field that is followed: minus the noise in the picture, or the score, larger by 1 / sigma."""

    def plan(self, T: int) -> list[int]:
        """The timesteps visited where T is the one that matches sigma: that alone, twice a step."""
        need(self.steps >= 1, f"steps is {self.steps}: give 1 or more")
        return [T] * (2 * self.steps + 1)

    def timesteps(self, prior: Prior) -> list[int]:
        noises = self.denoiser(prior).process.sigma[1:]
        need(self.sigma >= 0, f"sigma is {self.sigma}: give 0 or more")
        need(
            self.sigma <= float(noises[-1]),
            f"sigma is {self.sigma}, and this prior knows noise up to {noises[-1]:.3g}: give less",
        )
        return self.plan(1 + int((noises - self.sigma).abs().argmin()))

    def denoiser(self, prior: Prior) -> Denoises:
        return exploding(prior.denoiser, 0.5, 0.5)

    def start(self, prior: Prior, x: Tensor, noise: Stream) -> Tensor:
        x = (x + 1) / 2
        return (x + self.sigma * noise(x, 0)).clamp(0, 1)

    def sampler(self, prior: Prior) -> Sampler:
        need(self.fraction > 0 and self.delta > 0, "fraction and delta are positive: raise what is not")
        in_order = 0 <= self.shortest <= self.longest
        need(in_order, f"steps are {self.shortest} to {self.longest} long: give 0 <= shortest <= longest")
        need(self.units in ("noise", "score"), f"units is {self.units!r}: choose noise or score")
        return AdaptiveSteps(self)

    def lengths(self, g: Tensor, probed: Tensor) -> Tensor:
        """a for each picture, (B,), where the field is g, and `probed` at the probe; both (B, C, H, W)."""
        tiny = torch.finfo(g.dtype).tiny
        # 1 - <g, g'> / <g, g>, without the cancellation.
        slope = _dot(g - probed, g) / _dot(g, g).clamp(min=tiny) / self.delta
        # Where the field stays as it is the step is the longest, and has a gradient of 0 instead of none.
        level = slope.abs() < tiny**0.5
        wanted = torch.where(level, self.longest, self.fraction / torch.where(level, 1.0, slope))
        return wanted.clamp(self.shortest, self.longest)

    def shown(self, x: Tensor) -> Tensor:
        return super().shown(2 * x - 1)


@dataclass(frozen=True)
class AdaptiveSteps(Sampler):
    """Moves that stay on their timestep: one to the probe, then one as far from its beginning as it says."""

    method: ADP
    multistep = True

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        m, f = self.method, -pred.eps if self.method.units == "noise" else pred.score
        begun, active = state or (None, None)
        if begun is None:
            return Gaussian(pred.x + m.delta * f, 0.0), ((pred.x, f), active)
        x, g = begun
        length = m.lengths(g, f)
        active = length > m.stop if active is None else active & (length > m.stop)
        x = x + fit(length * active, x) * g
        return Gaussian(x.clamp(0, 1), 0.0), (None, active)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).flatten(1).sum(1)
