"""ILVR: draw pictures that share their coarse content with a reference, with any unconditional prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

from torch import Tensor

from headwater.core import Control, Diffusion
from headwater.core.transition import NoiseSource
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.operators import LowPass
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of


@dataclass(frozen=True)
class ILVR(Method):
    """After every step, exchange the coarse content of x for that of the reference, noised as much (Choi et
    al. 2021, Alg. 1). phi shrinks a picture by `factor` and enlarges it again.

        x' ~ p(x_s | x_t)               y_s ~ q(y_s | reference)
        x_s = x' + phi(y_s) - phi(x')   until `free` steps are left

    Deviates from the reference code: the reference is noised to the timestep that x' has reached, as in the
    paper; the code noises it to the one before (`noised_to="before"`), as its authors confirmed. Neither is
    an exact projection, since phi phi is not phi.

    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("digits"), hw.load("digits", "test").images[:1]
    >>> variant = hw.ILVR(factor=4, steps=5, free=1).apply(prior, image, seed=0)
    >>> variant.shape
    torch.Size([1, 1, 32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models",
        authors="Jooyoung Choi, Sungwon Kim, Yonghyun Jeong, Youngjune Gwon, Sungroh Yoon",
        year=2021,
        venue="ICCV",
        arxiv="2108.02938",
        code="jychoi118/ilvr_adm",
        claim="A prior draws pictures that keep the coarse content of a reference; the coarser it is, the "
        "less alike and the more varied they are.",
    )
    needs: ClassVar[tuple[str, ...]] = ("an unconditional prior of such pictures", "reference pictures")

    factor: int = 32
    """Number of pixels to a side that the coarse content sums up in one."""
    steps: int = 100
    """Number of timesteps visited, evenly respaced from the prior's own."""
    free: int = 20
    """Number of steps at the end, before the very last one, that are not tied to the reference."""
    noised_to: Literal["reached", "before"] = "reached"
    """Timestep that the reference is noised to: the one `reached`, or as in the code the one `before`."""

    def apply(self, prior: Prior, image: Images, **how: Unpack[RunOptions]) -> Images:
        """Draw one picture for each reference.

        image: the references, (B, C, H, W) in [-1, 1]; enlarge small ones before. Returns (B, C, H, W).
        Raises UserError when shapes disagree or `factor` leaves less than a pixel.
        """
        prior.check(image)
        sides = prior.shape[1:]
        need(1 < self.factor <= min(sides), f"factor is {self.factor}: give a number from 2 to {min(sides)}")
        q, plan = prior.process, timesteps_of(prior.process, self.steps)
        need(0 <= self.free < self.steps, f"free is {self.free}: give a number from 0 to {self.steps - 1}")
        low_pass = LowPass.of(self.factor, sides)

        def begin(batch: Batch) -> Start:
            given = batch.take(image)
            late = self.noised_to == "before"
            coarse = Coarse(low_pass, given, q, batch.noise, plan, self.free, late)
            return Start(q.start(given, batch.noise), [*prior.controls, coarse])

        run, n = Run(**how), len(image)
        return sample(
            prior.denoiser, plan, n, begin, run, sampler=prior.sampler, law=prior.noise, label="pictures"
        )

    def evaluate(self, image: Images, truth: Images) -> dict[str, float]:
        """How alike the drawn pictures and their references are.

        coarse_error: root mean squared difference of their coarse content. psnr: dB, of whole pictures.
        """
        low_pass = LowPass.of(self.factor, tuple(image.shape[-2:]))
        coarse = (low_pass(image) - low_pass(truth)).square().mean().sqrt()
        return {"coarse_error": float(coarse), "psnr": float(psnr(image, truth).mean())}


@dataclass(frozen=True, eq=False)
class Coarse(Control):
    """Exchanges the coarse content of x for the reference's."""

    low_pass: LowPass
    reference: Tensor
    process: Diffusion
    noise: NoiseSource
    plan: Sequence[int]
    free: int
    late: bool

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        if len(self.plan) - 2 - step <= self.free:
            return x
        level = self.plan[step] if self.late else s
        y = self.process.sample(self.reference, level, self.noise)
        return x + self.low_pass(y - x)
