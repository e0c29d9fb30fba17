"""Blau et al.: wash out attacks of any kind with a little noise and a short deterministic walk back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headwater.core import DDIM, Sampler, respaced
from headwater.errors import need
from headwater.methods.base import Paper
from headwater.methods.robustness.shared.purifies import Purifies, check_level
from headwater.models import Prior


@dataclass(frozen=True)
class BlauPurification(Purifies):
    """Noise a picture to `level` in one go, then denoise it by a few steps of DDIM (Blau et al. 2022).
    Nothing is trained and nothing is known of the attack: neither its norm nor its size.

        x_t = alpha_t x + sigma_t z                                                       t = level
        x_s = alpha_s x0(x_t) + sqrt(sigma_s^2 - c^2) eps(x_t) + c z'       `steps` times, evenly to 1, then 0
        c   = eta sigma_s / sigma_t sqrt(1 - (alpha_t / alpha_s)^2)

    With eta = 0 the only chance is in z, and 15 network calls are few enough for exact gradients through all
    of them: `Purified(classifier, prior, BlauPurification())` is the defended classifier.

    Deviates from the reference code: `level` counts noisy timesteps from 1, so that its `first_step` 140 is
    level 141 here; its step grid of every tenth timestep is given by the number of steps, because without
    its flag --timesteps the code silently takes every fiftieth. Nothing is clipped but what comes out, as
    there. No network is trained along: the authors report that robust training of it gained nothing.

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:2]
    >>> purified = hw.BlauPurification(level=201, steps=3).apply(prior, image, seed=0)
    >>> purified.shape
    torch.Size([2, 1, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="Threat Model-Agnostic Adversarial Defense using Diffusion Models",
        authors="Tsachi Blau, Roy Ganz, Bahjat Kawar, Alex Bronstein, Michael Elad",
        year=2022,
        venue="arXiv",
        arxiv="2207.08089",
        code="tsachiblau/Threat-Model-Agnostic-Adversarial-Defense-using-Diffusion-Models",
        claim="One short purification withstands attacks of several norms and added noise, none of which it "
        "was made for, on average better than classifiers trained against one of them.",
    )

    level: int = 141
    """Timestep to noise to, of a prior of 1,000. More washes out more, attack and picture alike."""
    steps: int = 15
    """Number of denoising steps from there, one network call each."""
    eta: float = 0.0
    """Share of fresh noise in each step: 0 is deterministic DDIM, 1 the chain's own ancestral step."""

    def plan(self, T: int) -> list[int]:
        check_level(self.level, self.steps, T)
        # A single step begins where the noise is, not at 1.
        return [0, *(respaced(self.level, self.steps) if self.steps > 1 else (self.level, 0))]

    def sampler(self, prior: Prior) -> Sampler:
        need(0 <= self.eta <= 1, f"eta is {self.eta}: give a share from 0 to 1")
        return DDIM(self.eta)
