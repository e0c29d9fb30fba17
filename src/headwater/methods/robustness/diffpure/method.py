"""DiffPure: wash an attack out of a picture with a little noise and a prior's walk back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from headwater.core import Control, Recomputed, ReverseSDE, Sampler, descend, last, reverse
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.noise import Stream
from headwater.sampling import Run, RunOptions, Start, sample


@dataclass(frozen=True)
class DiffPure(Method):
    """Noise a picture to `level` in one go, then follow the reversed process to clean data (Nie et al. 2022,
    Alg. 1). Nothing is trained; the classifier that looks at the result need not know.

        x_t = alpha_t x + sigma_t e                                                     t = level
        x_s = x_t - f x_t + g^2 score(x_t, t) + g z     Euler-Maruyama, `steps` times;  "sde"
        x_s = x_t - f x_t + g^2 score(x_t, t) / 2       probability flow;               "ode"
        x_s ~ p(x_s | x_t)                              the prior's own step, clipped;  "ddpm"

    `Purified(classifier, prior, DiffPure())` of `methods.robustness.purified` is the defended classifier. Its
    gradient is exact: each step's activations are computed again on the way back, so memory is that of one
    network call and at most 4 pictures a step, whatever the number of steps.

    Deviates from the reference code: the gradient is autograd's instead of a stochastic adjoint, and flows
    through "ddpm" too; the noising and the walk use one table (there 0.8970 against 0.8963 of signal at
    t* = 0.1); a prior of discrete levels is told its own labels and walks its own chain's rates. Continuous
    priors (`Diffusion.vp_sde`) walk the paper's. Nothing is clipped but in "ddpm", as there.
    """

    paper: ClassVar[Paper] = Paper(
        title="Diffusion Models for Adversarial Purification",
        authors="Weili Nie, Brandon Guo, Yujia Huang, Chaowei Xiao, Arash Vahdat, Anima Anandkumar",
        year=2022,
        venue="ICML",
        arxiv="2205.07460",
        code="NVlabs/DiffPure",
        claim="Purified pictures withstand attacks that see the purifier too; robustness rises, then falls, "
        "with the noise level, and the SDE withstands more than the ODE.",
    )
    needs: ClassVar[tuple[str, ...]] = ("an unconditional prior of such pictures",)

    level: int = 100
    """Level to noise to: t* in thousandths of a prior of 1,000 levels. More washes out more, attack and
    picture alike."""
    steps: int = 100
    """Steps of the walk back; each is one network call."""
    kind: Literal["sde", "ode", "ddpm"] = "sde"
    """How to walk back; the noise of the way up is there in every case."""

    def plan(self, T: int) -> list[int]:
        """The levels visited with a prior of T levels: up in one step, down in `steps`.

        Raises UserError for a level above T or more steps than levels.
        """
        need(1 <= self.level <= T, f"this prior has {T} levels: set level between 1 and {T}")
        need(1 <= self.steps <= self.level, f"level is {self.level}: set steps between 1 and {self.level}")
        return [0, *descend(self.level, self.steps)]

    def purify(self, prior: Prior, x: Tensor, noise: Stream) -> Tensor:
        """One pass over x (B, C, H, W) in [-1, 1]; differentiable where gradients are enabled."""
        sampler, controls = self._stepping(prior)
        model, plan = Recomputed(prior.denoiser), self.plan(prior.process.T)
        return last(reverse(model, x, plan, sampler, controls, noise, torch.is_grad_enabled()))

    def _stepping(self, prior: Prior) -> tuple[Sampler, list[Control]]:
        need(self.kind in ("sde", "ode", "ddpm"), f"kind is {self.kind!r}: choose sde, ode or ddpm")
        if self.kind == "ddpm":
            return prior.sampler, prior.controls
        return ReverseSDE(1.0 if self.kind == "sde" else 0.0), []

    def apply(self, prior: Prior, image: Images, **how: Unpack[RunOptions]) -> Images:
        """Purify pictures. image: (B, C, H, W) in [-1, 1], attacked or not.

        Returns the same shape, about [-1, 1]. Raises UserError when the pictures do not fit the prior.
        """
        size, wanted = tuple(image.shape[1:]), tuple(prior.shape)
        need(
            size == wanted,
            f"the pictures are {size}, this prior draws {wanted}: resize them or take another prior",
        )
        sampler, controls = self._stepping(prior)
        return sample(
            prior.denoiser, self.plan(prior.process.T), len(image),
            lambda batch: Start(batch.take(image), controls), Run(**how),
            sampler=sampler, law=prior.noise, label="pictures",
        )  # fmt: skip

    def evaluate(self, purified: Images, truth: Images) -> dict[str, float]:
        """How near purified pictures are to the clean ones. Robustness is measured by `attacks.suite`.

        mse: mean squared error, range [-1, 1]. psnr: in dB.
        """
        need(purified.shape == truth.shape, "give one true picture of the same size for each purified one")
        return {
            "mse": float((purified - truth).square().mean()),
            "psnr": float(psnr(purified, truth).mean()),
        }
