"""SDEdit: make strokes, collages and rough edits realistic, with any unconditional prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Unpack

from torch import Tensor

from headwater.controls import GivenRegion
from headwater.core import Control, descend
from headwater.errors import need
from headwater.methods.base import Images, Mask, Method, Paper, check_mask
from headwater.metrics.image import mse, psnr
from headwater.models import Prior
from headwater.sampling import Batch, Run, RunOptions, Start, sample

Reach = Callable[[Tensor, Batch], Sequence[Control]]
"""(the guides of a batch, the batch) -> what reaches into its steps."""


@dataclass(frozen=True)
class SDEdit(Method):
    """Noise a guide up to `level` and let a prior denoise it: what the noise hides is drawn anew, the rest
    stays (Meng et al. 2022, Alg. 1 to 3). `repeats` times, each result being the next guide.

        x   = alpha guide + sigma e                                   at `level`
        x_s ~ p(x_s | x_t)                                            the prior's own step, down to 0
        x_s = known * q(x_s | guide) + (1 - known) * x_s              after each step, where a mask is given

    A higher level gives more realistic and less faithful pictures. What a level leaves of the guide is the
    schedule's: the paper's 500 of 1,000 are alpha = 0.28, the code's default 400 are 0.44; with a cosine
    schedule they are levels 820 and 710.

    Deviates from the reference code: given pixels have the noise of the timestep that x has reached (there
    that of the one before), drawn anew for every step (there one field a repeat), and so are exact at the end
    (there the noise of the last timestep stays on them); estimates are clipped where the prior says so; steps
    may be skipped. A prior whose variance explodes takes its posterior's variance, as others do (in the
    paper's listing the forward step's).

    >>> import headwater as hw
    >>> prior, guide = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:1].sign()
    >>> hw.SDEdit(level=400, steps=4).apply(prior, guide, seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations",
        authors="Chenlin Meng, Yutong He, Yang Song, Jiaming Song, Jiajun Wu, Jun-Yan Zhu, Stefano Ermon",
        year=2022,
        venue="ICLR",
        arxiv="2108.01073",
        code="ermongroup/SDEdit",
        claim="A prior makes strokes more realistic and keeps them recognisable; the more noise, the more "
        "realistic and the less like the strokes.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of realistic pictures",
        "guides: strokes, collages or rough edits",
    )

    level: int = 500
    """Timestep that guides are noised to, of the prior's 1,000 (the paper's t0 = 0.5): too low keeps the
    strokes, too high forgets the guide."""
    steps: int | None = None
    """Number of denoising steps from there, each one network call; None takes every timestep."""
    repeats: int = 1
    """Number of times that a guide is noised and denoised, each time starting from the last result."""

    def plan(self, T: int) -> list[int]:
        """The timesteps visited with a prior of T: up in one step and down again, `repeats` times.

        Raises UserError for a level that T has not, more steps than timesteps, or no repeats.
        """
        level, steps = self.level, self.steps
        need(1 <= level <= T, f"level is {level}: give a timestep of this prior, from 1 to {T}")
        need(
            steps is None or 1 <= steps <= level,
            f"steps is {steps}: give a number from 1 to {level}, or None",
        )
        need(self.repeats >= 1, f"repeats is {self.repeats}: give 1 or more")
        return [0, *descend(level, steps) * self.repeats]

    def apply(
        self, prior: Prior, image: Images, known: Mask | None = None, **how: Unpack[RunOptions]
    ) -> Images:
        """Draw one picture for each guide.

        image: the guides, (B, C, H, W) in [-1, 1]. known: (B or 1, 1, H, W) bool, True where the guide is to
        be kept as it is. Returns (B, C, H, W). Raises UserError when shapes disagree.
        """
        prior.check(image)
        if known is None:
            return self.draw(prior, image, lambda guide, batch: (), Run(**how))
        check_mask(known, image)

        def region(guide: Tensor, batch: Batch) -> Sequence[Control]:
            return [GivenRegion(guide, batch.take(known), prior.process, batch.noise, "after")]

        return self.draw(prior, image, region, Run(**how))

    def draw(self, prior: Prior, image: Tensor, reach: Reach, run: Run) -> Tensor:
        """Noise the guides and denoise them, with whatever else reaches into the steps of a batch."""

        def begin(batch: Batch) -> Start:
            guide = batch.take(image)
            return Start(guide, [*prior.controls, *reach(guide, batch)])

        return sample(
            prior.denoiser, self.plan(prior.process.T), len(image), begin, run,
            sampler=prior.sampler, law=prior.noise, label="pictures",
        )  # fmt: skip

    def evaluate(self, edited: Images, truth: Images) -> dict[str, float]:
        """How like their guides the pictures still are; realism takes a judge of such pictures.

        rmse: mean over pictures of the root mean squared difference, range [-1, 1]. psnr: in dB.
        """
        need(edited.shape == truth.shape, "give one guide of the same size for each picture")
        return {
            "rmse": float(mse(edited, truth).sqrt().mean()),
            "psnr": float(psnr(edited, truth).mean()),
        }
