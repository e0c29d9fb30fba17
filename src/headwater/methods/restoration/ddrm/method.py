"""DDRM: undo any linear measurement with any unconditional prior, in 20 network calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from headwater.core import Control, Diffusion, Prediction
from headwater.core.timesteps import spaced
from headwater.core.transition import Level, NoiseSource, Transition
from headwater.errors import UserError, need
from headwater.methods.base import Images, Mask, Measured, Paper
from headwater.methods.restoration.shared.restores import Restores
from headwater.models import Prior
from headwater.operators import Spectral
from headwater.sampling import Batch, Run, RunOptions, Start, sample


@dataclass(frozen=True)
class DDRM(Restores):
    """Denoise each coefficient of the measurement's singular vectors on its own: as the prior says where
    nothing was measured, as the measurement says where it has less noise than the current timestep (Kawar et
    al. 2022, eq. 7 and 8).

    With A = U S V^T, ybar = S^+ U^T y, spread = noise / S, x = alpha (x_0 + sigma eps), xbar = V^T x, and
    c = sqrt(1 - eta^2):

        xbar_T ~ N(ybar, sigma_T^2 - spread^2)                            where spread < sigma_T
        S = 0            N(xbar_0 + c sigma eps,                          eta^2 sigma^2)
        sigma < spread   N(xbar_0 + c sigma (ybar - xbar_0) / spread,     eta^2 sigma^2)
        else             N((1 - eta_b) xbar_0 + eta_b ybar,               sigma^2 - eta_b^2 spread^2)

    Deviates from the reference code: without noise the last step takes the measured coefficients as they are,
    so that A x = y to rounding (there it takes the network's estimate, and leaves a residual); singular
    values belong to their own coefficients in blurs of colour pictures; `noise` is that of values in [-1, 1],
    twice that of values in [0, 1].

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:1]
    >>> small = torch.nn.functional.avg_pool2d(image, 4)
    >>> restored = hw.DDRM("block-average 4", steps=5).apply(prior, small, seed=0)
    >>> torch.allclose(torch.nn.functional.avg_pool2d(restored, 4), small, atol=1e-4)
    True
    """

    paper: ClassVar[Paper] = Paper(
        title="Denoising Diffusion Restoration Models",
        authors="Bahjat Kawar, Michael Elad, Stefano Ermon, Jiaming Song",
        year=2022,
        venue="NeurIPS",
        arxiv="2201.11793",
        code="bahjat-kawar/ddrm",
        claim="A prior restores pictures from noisy linear measurements better than the pseudo-inverse and "
        "bicubic interpolation, and 20 network calls do nearly as well as 100.",
    )

    steps: int = 20
    """Number of network calls, each at one of evenly spaced timesteps from just below the highest."""
    eta: float = 0.85
    """Share of fresh noise where nothing was measured, or with more noise than the current timestep's."""
    eta_b: float = 1.0
    """Weight of the measurement, from 0 to 1, where it has less noise than the current timestep."""

    def plan(self, T: int) -> list[int]:
        """The timesteps visited with a prior of T. Raises UserError for more steps than timesteps."""
        need(1 <= self.steps <= T, f"steps is {self.steps}: give a number from 1 to {T}")
        return spaced(T, self.steps, "leading")

    def apply(
        self,
        prior: Prior,
        measured: Measured,
        known: Mask | None = None,
        *,
        operator: Spectral | None = None,
        **how: Unpack[RunOptions],
    ) -> Images:
        """Restore the pictures behind `measured`.

        measured: (B, C', H', W') in [-1, 1], as `by` says. known: (B or 1, 1, H, W) bool for `mask`, True
        where the pixel is given. operator: a measurement of one's own, instead of `by`. Returns (B, C, H, W).
        Raises UserError for a measurement that does not fit the prior, and settings out of range.
        """
        need(0 <= self.eta <= 1 and 0 <= self.eta_b <= 1, "eta and eta_b are shares from 0 to 1")
        a, q = self.measurement(prior, measured, known, operator), prior.process
        plan = self.plan(q.T)
        if not isinstance(a, Spectral):
            raise UserError(f"DDRM needs a singular value decomposition, which {self.by!r} has not: take DPS")

        def begin(batch: Batch) -> Start:
            here, y = self.of_batch(a, measured, batch)
            guide = Guide(here, here.recovered(y), self.noise, self.eta, self.eta_b, q)
            x = guide.start(batch.empty(*prior.shape), plan[0], batch.noise)
            return Start(x, [*prior.controls, guide])

        n, law = len(measured), prior.noise
        return sample(prior.denoiser, plan, n, begin, Run(**how), law=law, label="pictures")


@dataclass(frozen=True, eq=False)
class Guide(Control):
    """Replaces each step's distribution by DDRM's, coefficient by coefficient."""

    operator: Spectral
    ybar: Tensor
    """S^+ U^T y, coefficients."""
    noise: float
    eta: float
    eta_b: float
    process: Diffusion

    def _spread(self, like: Tensor) -> Tensor:
        """noise / s of each coefficient; infinite where nothing is measured."""
        s = self.operator.singular.to(like.device)
        return torch.where(s > 0, self.noise / torch.where(s > 0, s, 1), torch.inf)

    def start(self, like: Tensor, t: int, noise: NoiseSource) -> Tensor:
        """A draw of x at the first timestep."""
        alpha, sigma = self.process.scales(t)
        if alpha == 0:  # pure noise, of which nothing is measured
            return sigma * noise(like, t)
        level, spread = sigma / alpha, self._spread(like)
        known = spread < level
        std = torch.where(known, level**2 - spread**2, level**2).sqrt()
        drawn = self.operator.coefficients(noise(like, t))
        mean = torch.where(known, self.ybar, 0)
        return alpha * self.operator.image(mean + std.to(drawn.real) * drawn)

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        alpha, sigma = self.process.scales(s)
        level, spread = sigma / alpha, self._spread(pred.x)
        x0, eps = (self.operator.coefficients(v) for v in (pred.x0, pred.eps))
        rest = (1 - self.eta**2) ** 0.5 * level
        finite = torch.where(spread.isfinite() & (spread > 0), spread, 1).to(x0.real)
        unmeasured = x0 + rest * eps
        noisier = x0 + rest * (self.ybar - x0) / finite
        clearer = (1 - self.eta_b) * x0 + self.eta_b * self.ybar
        trusted, nothing = spread <= level, spread.isinf()
        mean = torch.where(trusted, clearer, torch.where(nothing, unmeasured, noisier))
        variance = torch.where(trusted, level**2 - (self.eta_b * spread) ** 2, (self.eta * level) ** 2)
        return InCoefficients(self.operator, alpha * mean, alpha * variance.clamp(min=0).sqrt())


@dataclass(frozen=True, eq=False)
class InCoefficients:
    """N(V mean, V std^2 V^T): independent for each coefficient of an operator."""

    operator: Spectral
    mean: Tensor
    std: Tensor

    def sample(self, noise: NoiseSource, level: Level = 0) -> Tensor:
        image = self.operator.image(self.mean)
        if not bool(self.std.any()):  # a deterministic step asks for no noise
            return image
        drawn = self.operator.coefficients(noise(image, level))
        return image + self.operator.image(self.std.to(drawn.real) * drawn)

    def shift(self, delta: Tensor) -> InCoefficients:
        return InCoefficients(self.operator, self.mean + self.operator.coefficients(delta), self.std)
