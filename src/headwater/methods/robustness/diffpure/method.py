"""DiffPure: wash an attack out of a picture with a little noise and a prior, before a classifier sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from headwater.core import Control, ReverseSDE, Sampler, descend, last, reverse
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.noise import Stream, derive
from headwater.sampling import Recomputed, Run, RunOptions, Start, sample


@dataclass(frozen=True)
class DiffPure(Method):
    """Noise a picture to `level` in one go, then follow the reversed process to clean data (Nie et al. 2022,
    Alg. 1). Nothing is trained; the classifier that looks at the result need not know.

        x_t = alpha_t x + sigma_t e                                                     t = level
        x_s = x_t - f x_t + g^2 score(x_t, t) + g z     Euler-Maruyama, `steps` times;  "sde"
        x_s = x_t - f x_t + g^2 score(x_t, t) / 2       probability flow;               "ode"
        x_s ~ p(x_s | x_t)                              the prior's own step, clipped;  "ddpm"

    `Purified(classifier, prior, DiffPure())` is the defended classifier. Its gradient is exact: each step's
    activations are computed again on the way back, so memory is that of one network call and at most 4
    pictures a step, whatever the number of steps.

    Deviates from the reference code: the gradient is autograd's instead of a stochastic adjoint, and flows
    through "ddpm" too; noising and denoising use one table (there 0.8970 of signal variance at t* = 0.1
    against 0.8963); a prior of discrete timesteps is told its own labels (there one more, the floor of
    1000 t) and follows its own chain's rates, continuous priors (`Diffusion.vp_sde`) the paper's; the last
    step ends at 0 (there at 1e-5). Nothing is clipped but in "ddpm", as there. Several rounds in a chain, a
    random level and the Langevin variant (`ldsde`) are not here.

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:2]
    >>> purified = hw.DiffPure(level=200, steps=2).apply(prior, image, seed=0)
    >>> purified.shape
    torch.Size([2, 1, 32, 32])
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
    """Timestep to noise to: t* in thousandths of a prior of 1,000. More washes out more, attack and picture
    alike."""
    steps: int = 100
    """Number of denoising steps from there, one network call each."""
    kind: Literal["sde", "ode", "ddpm"] = "sde"
    """Way of denoising: the reversed SDE, its probability flow, or the prior's own steps; the noise of the
    way up is there in every case."""

    def plan(self, T: int) -> list[int]:
        """The timesteps visited with a prior of T: up in one step, down in `steps`.

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
        prior.check(image)
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


class Purified(nn.Module):
    """A classifier behind a purifier: logits = classifier((purify(2 image - 1) + 1) / 2), without a clamp.

    classifier: any module from pictures (B, C, H, W) in [0, 1] to logits (B, K).
    noise: `fresh`, new at each call, as a deployed defence would, a function of (seed, call, first + row);
        or `fixed`, the same noise for row i at every call, which shows what the defence owes to chance.

    Gradients are exact. Raises UserError for pictures of another size than the prior's, or outside [0, 1].
    """

    def __init__(
        self,
        classifier: nn.Module,
        prior: Prior,
        purifier: DiffPure,
        noise: Literal["fresh", "fixed"] = "fresh",
        *,
        seed: int = 0,
        first: int = 0,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.network = prior.network  # registered, so that the module moves as one
        self.prior, self.purifier, self.noise = prior, purifier, noise
        self.seed, self.first = seed, first
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        call = 0 if self.noise == "fixed" else self.calls
        self.calls += 1
        rows = range(self.first, self.first + len(images))
        return self.seeded(images, [derive(self.seed, call, i) for i in rows])

    def seeded(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Logits where every draw for image i is a function of seeds[i] alone."""
        return self.classifier(self.purified(images, seeds))

    def purified(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """The pictures that the classifier is shown, (B, C, H, W) about [0, 1]."""
        self.prior.check(images)
        outside = images.numel() > 0 and not bool(((images >= -1e-4) & (images <= 1 + 1e-4)).all())
        need(not outside, "pictures for a classifier lie in [0, 1]: rescale them")
        stream = self.prior.noise.stream(seeds)
        return (self.purifier.purify(self.prior, images * 2 - 1, stream) + 1) / 2


class OnUnitRange(nn.Module):
    """A classifier of pictures in [-1, 1] as one of pictures in [0, 1]."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(images * 2 - 1)
