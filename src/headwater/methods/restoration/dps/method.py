"""DPS: restore pictures from any differentiable measurement with any unconditional prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from headwater.core import Control, Prediction
from headwater.core.transition import Transition
from headwater.errors import need
from headwater.methods.base import Images, Mask, Measured, Paper
from headwater.methods.restoration.shared.restores import Restores
from headwater.models import Prior
from headwater.operators import Measurement
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of


@dataclass(frozen=True)
class DPS(Restores):
    """Move each step of the prior down the gradient of what its estimate fails to explain (Chung et al. 2023,
    Alg. 1). The measurement A need not be linear.

        x'  ~ p(x_s | x_t)
        x_s = x' - scale * grad_x_t || y - A(x0(x_t)) ||_2

    The gradient goes through the network, so that a picture takes about the memory of training it. For
    Poisson noise the square of each residual is divided by twice its light, from 0 to 1 (its Alg. 2), which
    counts as a grey level of 255 at least.

    Deviates from the reference code: each picture has a norm of its own, so that no other matters to it; the
    code takes one norm over the batch, with which four pictures move half as far each. For Poisson noise the
    code divides the norm by |y| of values in [-1, 1], where mid-grey is 0, and takes the mean of that.

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:1]
    >>> small = torch.nn.functional.avg_pool2d(image, 4)
    >>> hw.DPS("block-average 4", steps=5).apply(prior, small, seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="Diffusion Posterior Sampling for General Noisy Inverse Problems",
        authors="Hyungjin Chung, Jeongsol Kim, Michael T. McCann, Marc L. Klasky, Jong Chul Ye",
        year=2023,
        venue="ICLR",
        arxiv="2209.14687",
        code="DPS2022/diffusion-posterior-sampling",
        claim="Gradients through the prior's estimate restore pictures from noisy measurements, linear or "
        "not, and there is a best weight for them between too little and too much.",
    )

    scale: float = 0.3
    """Length of a step along the gradient: 0.3 for small and blurred pictures, 0.5 for holes."""
    steps: int = 1000
    """Number of timesteps visited, evenly respaced from the prior's own."""
    likelihood: Literal["gaussian", "poisson"] = "gaussian"
    """Kind of noise in the measurements; `poisson` is that of photons, for measurements of light."""

    def apply(
        self,
        prior: Prior,
        measured: Measured,
        known: Mask | None = None,
        *,
        operator: Measurement | None = None,
        **how: Unpack[RunOptions],
    ) -> Images:
        """Restore the pictures behind `measured`.

        measured: (B, C', H', W') in [-1, 1], as `by` says. known: (B or 1, 1, H, W) bool for `mask`, True
        where the pixel is given. operator: a measurement of one's own, instead of `by`. Returns (B, C, H, W).
        Raises UserError for a measurement that does not fit the prior.
        """
        need(self.scale >= 0, f"scale is {self.scale}: give 0 or more")
        a, plan = self.measurement(prior, measured, known, operator), timesteps_of(prior.process, self.steps)
        light = self.likelihood == "gaussian" or a.picture
        need(light, f"{self.by!r} measures no light, of which Poisson noise is: set likelihood to gaussian")

        def begin(batch: Batch) -> Start:
            guide = Guide(*self.of_batch(a, measured, batch), self.scale, self.likelihood)
            x = prior.process.start(batch.empty(*prior.shape), batch.noise)
            return Start(x, [*prior.controls, guide] if self.scale else prior.controls)

        run, n = Run(**how), len(measured)
        return sample(
            prior.denoiser, plan, n, begin, run, sampler=prior.sampler, law=prior.noise, label="pictures"
        )


DARK = 2 / 255
"""The least light that Poisson noise is measured by, of values from 0 to 2."""


@dataclass(frozen=True, eq=False)
class Guide(Control):
    """Shifts each step's distribution down the gradient of the residual's norm."""

    measurement: Measurement
    y: Tensor
    scale: float
    likelihood: Literal["gaussian", "poisson"] = "gaussian"
    needs_grad = True

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        residual = self.y - self.measurement.forward(pred.x0)
        if self.likelihood == "poisson":
            residual = residual / (self.y + 1).clamp(min=DARK).sqrt()
        norm = torch.linalg.vector_norm(residual.flatten(1), dim=1)
        (gradient,) = torch.autograd.grad(norm.sum(), pred.x)
        return dist.shift(-self.scale * gradient)
