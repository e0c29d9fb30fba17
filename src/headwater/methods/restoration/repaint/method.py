"""RePaint: fill any hole with any unconditional prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Unpack

from headwater.controls import GivenRegion
from headwater.core import jumps, through
from headwater.errors import need
from headwater.methods.base import Images, Mask, Method, Paper, check_mask
from headwater.metrics.image import hole_scores
from headwater.models import Prior
from headwater.notes import note
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of


@dataclass(frozen=True)
class RePaint(Method):
    """Noise the given pixels to the current timestep, let the prior invent the rest, and repeat each stretch
    of the loop so that the two agree (Lugmayr et al. 2022, Alg. 1).

        x      = known * q(x_t | image) + (1 - known) * x        before every network call
        x_t-1  ~ p(x_t-1 | x_t)                                  the prior's own reverse step
        x_t+j  ~ q(x_t+j | x_t)                                  `jump` forward steps, one by one

    Deviates from the reference code: the given pixels are pasted back at the end (there they differ by
    about 0.04 on [-1, 1]); the very first network call is conditioned too; the variance may be fixed, and any
    noise distribution and any chain will do. As in the code, and not in the paper's listing, given pixels
    enter before a network call, at its own timestep.

    >>> import torch
    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:1]
    >>> known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    >>> known[..., 16:] = False
    >>> filled = hw.RePaint(steps=4, jump=2, resample=2).apply(prior, image, known, seed=0)
    >>> torch.equal(filled[..., :16], image[..., :16])
    True
    """

    paper: ClassVar[Paper] = Paper(
        title="RePaint: Inpainting using Denoising Diffusion Probabilistic Models",
        authors="Andreas Lugmayr, Martin Danelljan, Andres Romero, Fisher Yu, Radu Timofte, Luc Van Gool",
        year=2022,
        venue="CVPR",
        arxiv="2201.09865",
        code="andreas128/RePaint",
        claim="Walking back and forth gives better filled holes than a plain walk, "
        "and than spending the same network calls on more timesteps.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of such pictures",
        "a mask of the known pixels",
    )

    steps: int = 250
    """Number of timesteps visited on the way down, evenly respaced from the prior's own."""
    jump: int = 10
    """Number of respaced timesteps that a forward jump climbs, 1 or more."""
    resample: int = 10
    """Number of times that each stretch of the loop is sampled; 1 never jumps forward."""

    def plan(self, T: int) -> list[int]:
        """The timesteps visited with a prior of T: by default 4,571 entries and 2,410 network calls.

        Raises UserError for more steps than timesteps, or a jump that does not fit.
        """
        need(self.jump >= 1 and self.resample >= 1, "jump and resample are 1 or more")
        if self.resample > 1 and self.jump >= self.steps:
            jump = f"a jump of {self.jump} never fits into {self.steps} steps"
            note(f"{jump}, so nothing is resampled: lower jump")
        return through(jumps(self.steps, (self.jump, self.resample)), timesteps_of(T, self.steps))

    def apply(self, prior: Prior, image: Images, known: Mask, **how: Unpack[RunOptions]) -> Images:
        """Fill `image` where `known` is False.

        image: (B, C, H, W) in [-1, 1]; values in the hole are ignored.
        known: (B or 1, 1, H, W) bool, True where the pixel is given.
        Returns (B, C, H, W), given pixels untouched. Raises UserError when shapes disagree.
        """
        q = prior.process
        prior.check(image)
        check_mask(known, image)

        def begin(batch: Batch) -> Start:
            given = batch.take(image)
            region = GivenRegion(given, batch.take(known), q, batch.noise)
            return Start(q.start(given, batch.noise), [region, *prior.controls])

        filled = sample(
            prior.denoiser, self.plan(q.T), len(image), begin, Run(**how),
            sampler=prior.sampler, law=prior.noise, label="pictures",
        )  # fmt: skip
        return image.cpu().where(known.cpu(), filled)

    def evaluate(self, filled: Images, truth: Images, known: Mask) -> dict[str, float]:
        """How far the filled images are from the truth, and how visible the edge of the hole is.

        hole_mse: mean squared error over the hole, range [-1, 1]. psnr: of whole images, dB. seam: mean step
        across the edge of the hole minus that of the truth; 0 is seamless.
        """
        return hole_scores(filled, truth, known)
