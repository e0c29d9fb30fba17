"""Wu et al.: purify a picture by drawing it anew from pure noise, pulled towards it at every step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from headwater.core import Control, Diffusion, Gaussian, Prediction, Sampler
from headwater.core.transition import NoiseSource, Transition
from headwater.errors import need
from headwater.methods.base import Paper
from headwater.methods.robustness.shared.purifies import Purifies
from headwater.models import Prior
from headwater.noise import Stream
from headwater.sampling import timesteps_of


@dataclass(frozen=True)
class WuPurification(Purifies):
    """Draw a picture anew from pure noise, and pull every step towards the given picture x, noised as far
    (Wu et al. 2022). Nothing is trained, and nothing of x is in the state at the beginning: what comes out
    knows of it by the guide alone.

        x_T  ~ N(0, 1)
        y_s  = alpha_s x + sigma_s z                                    a fresh z at every step
        x_s  ~ p(x_s | x_t) exp(-scale |x_s - y_s|^2)                   normalised
             = N(mu + w (y_s - mu), (1 - w) std^2)      w = k / (1 + k), k = 2 scale std^2

    A step has a large variance where there is much noise, and a small one at the end: the guide settles what
    the picture is of and leaves its details, where an attack hides, to the prior. With scale 0 any picture of
    the prior comes out, with a very large one what a single step makes of y_s, noised to the last timestep
    before 0: the given picture, attack and all, where steps are many. `Purified(classifier, prior,
    WuPurification())` is the defended classifier; its gradient is exact, through the guide too.

    There is no public reference code. The paper shifts the mean by scale std^2 grad log p(x | x_t), which the
    above is to first order in std^2, and with its Gaussian exactly: so large weights and few steps do not
    overshoot. The distance, between states of equal noise, is GDMP's; the paper's weight is not known to us,
    so that the default of `scale` is ours. The paper certifies the chain without a guide, from the noised
    picture; that is DiffPure before `headwater.attacks.certify`.

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:2]
    >>> purified = hw.WuPurification(steps=6).apply(prior, image, seed=0)
    >>> purified.shape
    torch.Size([2, 1, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="Guided Diffusion Model for Adversarial Purification from Random Noise",
        authors="Quanlin Wu, Hang Ye, Yuntian Gu",
        year=2022,
        venue="arXiv",
        arxiv="2206.10875",
        claim="Pictures drawn anew from random noise, guided towards the attacked ones, withstand attacks; "
        "and where the radius is large, diffusion certifies more pictures than randomized smoothing does.",
    )

    steps: int = 1000
    """Number of timesteps visited, evenly respaced from the prior's own, one network call each."""
    scale: float = 1.0
    """Weight of the guide. 0 draws any picture of the prior; too large a weight brings the attack back."""

    def plan(self, T: int) -> list[int]:
        return timesteps_of(T, self.steps)

    def sampler(self, prior: Prior) -> Sampler:
        return prior.sampler

    def start(self, prior: Prior, x: Tensor, noise: Stream) -> Tensor:
        return prior.process.start(x, noise)

    def controls(self, prior: Prior, x: Tensor, noise: Stream) -> list[Control]:
        need(self.scale >= 0, f"scale is {self.scale}: give 0 or more")
        guide = [Towards(prior.process, x, noise, self.scale)] if self.scale else []
        return [*prior.controls, *guide]


@dataclass(frozen=True, eq=False)
class Towards(Control):
    """Multiplies the distribution over x_s by a Gaussian around `target` (B, C, H, W), noised to s afresh."""

    process: Diffusion
    target: Tensor
    noise: NoiseSource
    scale: float

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        assert isinstance(dist, Gaussian)
        if s == 0:  # the last step has no variance, and so no guide
            return dist
        k = 2 * self.scale * dist.std * dist.std
        y = self.process.sample(self.target, s, self.noise)
        return replace(dist, mean=dist.mean + k / (1 + k) * (y - dist.mean), std=dist.std / (1 + k) ** 0.5)
