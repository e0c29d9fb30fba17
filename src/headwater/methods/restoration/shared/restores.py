"""What every method does that restores pictures from measurements: names, checks and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from headwater.errors import need
from headwater.methods.base import Images, Mask, Measured, Method, check_mask, limit_of
from headwater.methods.inputs import tensor
from headwater.metrics.image import psnr, ssim
from headwater.models import Prior
from headwater.operators import Measurement
from headwater.operators.named import operator_of
from headwater.sampling import Batch

M = TypeVar("M", bound=Measurement)


@dataclass(frozen=True)
class Restores(Method):
    """A method that looks for the pictures behind measurements y = A x + noise."""

    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of such pictures",
        "measured pictures, and how they were measured",
    )

    by: str = "block-average 4"
    """What was measured of each picture: `block-average N`, `bicubic N`, `grey`, `mask` (with `known`),
    `gaussian-blur SIGMA`, `motion-blur LENGTH ANGLE`, `blur FILE`, `compressed-sensing SHARE`, `nothing`;
    for DPS also `jpeg QUALITY`, `overexposed GAIN`, `phase-retrieval`."""
    noise: float = 0.0
    """Standard deviation of the noise in the measurements, of values from black at -1 to white at 1."""

    def measurement(
        self, prior: Prior, measured: Tensor, known: Tensor | None, operator: Measurement | None
    ) -> Measurement:
        """A, which `operator` or else the name `by` gives, checked against what was measured.

        Raises UserError where the measured pictures are not of the size that A makes of the prior's, or have
        values that no picture has.
        """
        if known is not None:
            check_mask(known, torch.empty(1).expand(len(measured), *prior.shape))
        need(self.noise >= 0, f"noise is {self.noise}: give its standard deviation, 0 or more")
        operator = operator or operator_of(self.by, prior.shape, known)
        wanted = tuple(operator.forward(torch.zeros(1, *prior.shape)).shape[1:])
        need(len(measured) > 0, "there are no measured pictures: give one or more")
        need(
            tuple(measured.shape[1:]) == wanted,
            f"the measured pictures are {tuple(measured.shape[1:])}, but {self.by!r} makes {wanted} of the "
            f"prior's {prior.shape}: give another measurement or another prior",
        )
        if operator.picture:
            tensor(measured, "measured", limit_of(prior))
        return operator

    def of_batch(self, a: M, measured: Tensor, batch: Batch) -> tuple[M, Tensor]:
        """A and y of a batch's pictures: masks may differ from picture to picture, and what lies in their
        holes was not measured."""
        here = a.for_rows(batch.take)
        return here, here.kept(batch.take(measured))

    def evaluate(
        self,
        restored: Images,
        truth: Images,
        measured: Measured | None = None,
        known: Mask | None = None,
    ) -> dict[str, float]:
        """How far the restored pictures are from the truth, and from what was measured.

        psnr: dB. ssim. residual, with `measured`: root of the mean squared A x - y; that of a restored
        picture should be about as large as the noise. psnr_aligned, where the measurement cannot tell a
        picture from one that is turned or moved (`phase-retrieval`): of whichever is nearest to the truth.
        """
        scores = {"psnr": float(psnr(restored, truth).mean()), "ssim": float(ssim(restored, truth).mean())}
        if measured is not None:
            operator = operator_of(self.by, tuple(restored.shape[1:]), known)  # pyright: ignore[reportArgumentType]
            scores["residual"] = float(operator.residual(restored, measured).square().mean().sqrt())
            if (aligned := operator.aligned(restored, truth)) is not restored:
                scores["psnr_aligned"] = float(psnr(aligned, truth).mean())
        return scores
