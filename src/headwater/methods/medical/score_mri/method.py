"""Score-MRI: reconstruct any undersampled k-space with one prior of magnitude pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from headwater.controls import Consistent
from headwater.core import Diffusion
from headwater.core.transition import NoiseSource
from headwater.methods.base import Paper
from headwater.methods.medical.shared.reconstructs import Corrects
from headwater.methods.medical.shared.scan import Combine, Image
from headwater.operators import Operator
from headwater.sampling import Start


@dataclass(frozen=True)
class ScoreMRI(Corrects):
    """Sample a variance-exploding chain by predictor and corrector; after every move put the measured
    coefficients back (Chung & Ye 2022, Alg. 2 to 5).

        x <- x + (sigma_i^2 - sigma_i-1^2) s(x, i) + sqrt(sigma_i^2 - sigma_i-1^2) z        predictor
        x <- x + a s(x, i) + sqrt(2 a) z,   a = 2 (snr |z| / |s|)^2                         corrector
        x <- x + A^+ (y - A x)                                                              data, after both

    s is the score of magnitude pictures in [0, 1], applied to real and imaginary part of x separately. Any
    prior will do: one of a variance-preserving chain of pictures in [-1, 1] is seen through a `View`. A takes
    an image to the measured part of k-space: phase or coil maps, a Fourier transform, a mask.

    Deviates from the reference code: `phased` turns the image by its smooth phase, known from the centre of
    k-space, so that the prior meets images that are nearly real and positive (the reference scales the phase
    of its complex test data into [0, 1] radian instead). Alg. 5 is what the paper says, one image with data
    consistency in all coils; the code feeds coil images through the maps twice. Maps (ESPIRiT) and brightness
    come from measured data alone; the code takes maps from full k-space, and caches those of its first file.
    Real images get the mirror image of each coefficient too. The corrector comes first in all algorithms,
    and its step has a length of its own for each sample and part, so that results do not depend on the
    batch; the last step adds no noise. Masks measure what they say (there "4x" keeps 1/4.1 to 1/7.5).

    >>> import headwater as hw
    >>> from headwater.operators import Fourier
    >>> prior, head = hw.Prior.from_pretrained("brain"), hw.load("brain", "test", 32)
    >>> kspace = Fourier("centred").forward((head.images[50:51] + 1) / 2 + 0j)
    >>> kspace[..., ::3] = 0
    >>> method = hw.ScoreMRI(steps=2, highest=1.0, samples=2, brightness=1.0)
    >>> found = method.apply(prior, list(kspace), seed=0)
    >>> found.magnitude[0].shape, found.uncertainty[0].shape
    (torch.Size([32, 32]), torch.Size([32, 32]))
    """

    paper: ClassVar[Paper] = Paper(
        title="Score-based diffusion models for accelerated MRI",
        authors="Hyungjin Chung, Jong Chul Ye",
        year=2022,
        venue="Medical Image Analysis",
        arxiv="2110.05243",
        code="HJ-harry/score-MRI",
        claim="One score model trained on magnitude pictures reconstructs real, complex and multi-coil data "
        "under sampling patterns that it never saw, and the spread of its samples shows where it errs.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "a prior of magnitude pictures of that size",
        "k-space with a fully measured centre",
    )

    steps: int | None = None
    """Number of timesteps on the way down, even in log sigma; None visits all of the prior's. The paper has
    2000."""
    image: Image = "phased"
    """Kind of image sought: complex in the frame of its smooth phase; complex in the frame that it was
    measured in (the paper's Alg. 3); or real (Alg. 2; one coil)."""
    combine: Combine = "sense"
    """Treatment of coils: one image seen through coil maps (Alg. 5), or one image for each coil, then the
    root of the sum of squares (Alg. 4)."""

    def begin(self, a: Operator, y: Tensor, q: Diffusion, t: int, noise: NoiseSource) -> Start:
        """From the noised zero-filled image, the measured part put in place."""
        return Start(a.project(q.sample(a.adjoint(y), t, noise), y), [Consistent(a, y)])
