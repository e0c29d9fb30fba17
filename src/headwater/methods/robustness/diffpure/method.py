"""DiffPure: wash an attack out of a picture with a little noise and a prior, before a classifier sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from headwater.core import Control, ReverseSDE, Sampler, descend
from headwater.errors import need
from headwater.methods.base import Paper
from headwater.methods.robustness.shared.purifies import Purifies, check_level
from headwater.models import Prior
from headwater.noise import Stream


@dataclass(frozen=True)
class DiffPure(Purifies):
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
    clamps: ClassVar[bool] = False

    level: int = 100
    """Timestep to noise to: t* in thousandths of a prior of 1,000. More washes out more, attack and picture
    alike."""
    steps: int = 100
    """Number of denoising steps from there, one network call each."""
    kind: Literal["sde", "ode", "ddpm"] = "sde"
    """Way of denoising: the reversed SDE, its probability flow, or the prior's own steps; the noise of the
    way up is there in every case."""
    last: Literal["noisy", "clean"] = "noisy"
    """Noise of the last step of the reversed SDE, which the paper adds: it stays in the picture, the more the
    fewer steps there are. `clean` leaves it out."""
    resize: bool = False
    """Whether pictures of another size than the prior's are resized to it, bilinearly, and back afterwards,
    as the paper does for classifiers of ImageNet; gradients flow through both."""

    def plan(self, T: int) -> list[int]:
        """The timesteps visited with a prior of T: up in one step, down in `steps`.

        Raises UserError for a level above T or more steps than levels.
        """
        check_level(self.level, self.steps, T)
        return [0, *descend(self.level, self.steps)]

    def sampler(self, prior: Prior) -> Sampler:
        """The prior's own step for `ddpm`, else Euler-Maruyama's."""
        need(self.kind in ("sde", "ode", "ddpm"), f"kind is {self.kind!r}: choose sde, ode or ddpm")
        need(self.last in ("noisy", "clean"), f"last is {self.last!r}: choose noisy or clean")
        sde = ReverseSDE(1.0 if self.kind == "sde" else 0.0, self.last == "clean")
        return prior.sampler if self.kind == "ddpm" else sde

    def controls(self, prior: Prior, x: Tensor, noise: Stream) -> list[Control]:
        """The prior's own, in its own steps alone."""
        return prior.controls if self.kind == "ddpm" else []
