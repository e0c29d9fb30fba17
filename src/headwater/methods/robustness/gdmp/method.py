"""GDMP: purify a picture by a prior that is pulled back to it at every step, in several rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.core import Ancestral, Control, Diffusion, Gaussian, Prediction, Sampler, descend
from headwater.core.transition import Coefficient, NoiseSource, Transition
from headwater.errors import need
from headwater.methods.base import Paper
from headwater.methods.robustness.shared.purifies import Purifies, check_level
from headwater.models import Prior
from headwater.noise import Stream

Distance = Literal["mse", "ssim"]


@dataclass(frozen=True)
class GDMP(Purifies):
    """Noise a picture x to `level`, denoise it step by step, and shift each step towards x, noised as far
    (Wang et al. 2022); then do the same with what came out, `rounds` times. Nothing is trained.

        y_t  = alpha_t x + sigma_t z                              x is the given picture in every round
        x_s  ~ p(x_s | x_t) shifted by  std^2 c_t grad_x_t D(x_t, y_t)
        D    = -|x_t - y_t|^2  or the sum over pixels of SSIM(x_t, y_t)
        c_t  = scale (3 / 2) (255 / radius) sigma_t / alpha_t

    So the guide is strong while noise hides the attack, and fades as the noise does. Steps have the large
    variance of Ho et al. 2020, or the prior's learned one. The paper's classifier averages ten answers:
    `Purified(classifier, prior, GDMP(), paths=10)`; its gradient is exact, through the guide too.

    Deviates from the reference code: D is a sum over each picture's own pixels; there it is a mean over
    all pixels of the batch, so that a picture is guided a hundred times less among a hundred. `scale` is the
    code's guide_scale divided by the number of values in its batch: 60,000 with 100 pictures of 3 x 32 x 32
    is 0.195. A squared error whose guide would move a picture beyond its target is refused. Pictures are
    noised to the timestep that they are denoised from (there to the one above). The code's constant weight,
    which crashes there, and its ImageNet variant, whose guide has no noise, are not here.

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:2]
    >>> purified = hw.GDMP(level=200, steps=3, rounds=2).apply(prior, image, seed=0)
    >>> purified.shape
    torch.Size([2, 1, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="Guided Diffusion Model for Adversarial Purification",
        authors="Jinyi Wang, Zhaoyang Lyu, Dahua Lin, Bo Dai, Hongfei Fu",
        year=2022,
        venue="arXiv",
        arxiv="2205.14969",
        code="JinyiW/GuidedDiffusionPur",
        claim="Guidance towards the given picture keeps it recognisable where there is much noise, and there "
        "is a best weight for it: more brings the attack back.",
    )

    level: int = 36
    """Timestep to noise to in each round, of a prior of 1,000."""
    steps: int = 36
    """Number of denoising steps in each round, one network call each."""
    rounds: int = 4
    """Number of rounds, each of which begins with what the one before left."""
    distance: Distance = "mse"
    """Measure of how far x_t is from the noised picture: squared error, or structural similarity."""
    scale: float = 0.195
    """Weight of the guide; 0 is none."""
    radius: float = 8.0
    """Radius of the attack that is expected, in 255ths of the range of pixels. The larger, the weaker is the
    guide."""

    def plan(self, T: int) -> list[int]:
        check_level(self.level, self.steps, T)
        need(self.rounds >= 1, f"rounds is {self.rounds}: give 1 or more")
        return [0, *(descend(self.level, self.steps) * self.rounds)]

    def sampler(self, prior: Prior) -> Sampler:
        learned = Ancestral("learned")
        return learned if prior.sampler == learned else Ancestral("large")

    def controls(self, prior: Prior, x: Tensor, noise: Stream) -> list[Control]:
        need(self.distance in ("mse", "ssim"), f"distance is {self.distance!r}: choose mse or ssim")
        need(self.scale >= 0, f"scale is {self.scale}: give 0 or more")
        need(self.radius > 0, f"radius is {self.radius}: give a positive one, in 255ths")
        need(
            float(prior.process.alpha[self.level]) > 0 or self.scale == 0,
            f"timestep {self.level} of this prior is pure noise, where the guide would be infinitely strong: "
            "lower level",
        )
        weight = self.scale * 1.5 * 255 / self.radius
        if weight == 0:
            return prior.controls
        q, guide = prior.process, Guide(prior.process, x, noise, weight, self.distance)
        bound = 0 if self.sampler(prior) == Ancestral("learned") else 1
        for t, s in pairwise(descend(self.level, self.steps)):  # declines before any network call
            guide.strength(math.exp(float(q.log_variances(t, s)[bound if s > 0 else 0])), t)
        return [*prior.controls, guide]


@dataclass(frozen=True, eq=False)
class Guide(Control):
    """Shifts each step towards `target` (B, C, H, W), noised to the level of x afresh."""

    process: Diffusion
    target: Tensor
    noise: NoiseSource
    weight: float
    distance: Distance = "mse"

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        assert isinstance(dist, Gaussian)
        assert isinstance(pred.t, int)
        q, t = self.process, pred.t
        # The step into level 0 has no variance of its own: that of the step before stands in.
        variance = dist.std * dist.std if s > 0 else math.exp(float(q.log_variances(t, s)[0]))
        return dist.shift(self.strength(variance, t) * self.pull(pred.x, t))

    def strength(self, variance: Coefficient, t: int) -> Coefficient:
        """std^2 c_t of a step from t. Raises UserError where it moves pictures beyond their target."""
        alpha, sigma = self.process.scales(t)
        strength = variance * (self.weight * sigma / alpha)
        largest = 2 * float(strength.max() if isinstance(strength, Tensor) else strength)
        need(
            self.distance == "ssim" or largest <= 1,
            f"the guide moves pictures {largest:.2g} times as far as its target at timestep {t}, beyond it: "
            "lower scale, or take more steps",
        )
        return strength

    def pull(self, x: Tensor, t: int) -> Tensor:
        """The gradient of D at x (B, C, H, W), whose noised target is drawn here."""
        y = self.process.sample(self.target, t, self.noise)
        return 2 * (y - x) if self.distance == "mse" else ssim_gradient(x, y)


def ssim_gradient(x: Tensor, y: Tensor) -> Tensor:
    """The gradient with respect to x of the sum over pixels of SSIM(x, y), (B, C, H, W), by hand.

    Windows of 11 pixels with sigma 1.5, zeros around, constants for a range of 1, as the code has them. It is
    built of operations, not of autograd, so that a step may be differentiated once more.
    """
    at = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-at.square() / (2 * 1.5**2))
    window = (window / window.sum()).to(x).view(1, 1, 11, 1).expand(x.shape[1], 1, 11, 1)

    def local(image: Tensor) -> Tensor:
        columns = F.conv2d(image, window, padding=(5, 0), groups=x.shape[1])
        return F.conv2d(columns, window.mT, padding=(0, 5), groups=x.shape[1])

    mx, my = local(x), local(y)
    a1, b1 = 2 * mx * my + 1e-4, mx * mx + my * my + 1e-4
    a2 = 2 * (local(x * y) - mx * my) + 9e-4
    b2 = local(x * x) - mx * mx + local(y * y) - my * my + 9e-4
    found = a1 * a2 / (b1 * b2)
    of_mean = 2 * my * (a2 - a1) / (b1 * b2) + 2 * mx * found * (1 / b2 - 1 / b1)
    # The window is its own mirror image, so `local` is its own adjoint.
    return local(of_mean) - 2 * x * local(found / b2) + y * local(2 * a1 / (b1 * b2))
