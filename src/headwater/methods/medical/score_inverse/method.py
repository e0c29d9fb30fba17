"""Song et al. 2022: reconstruct MR and CT from few measurements with one prior, trained for neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from headwater.controls import Consistent
from headwater.core import Diffusion
from headwater.core.transition import NoiseSource
from headwater.errors import need
from headwater.methods.base import Paper
from headwater.methods.medical.shared.reconstructs import Corrects
from headwater.operators import Operator
from headwater.sampling import Start


@dataclass(frozen=True)
class ScoreInverse(Corrects):
    """Sample a variance-exploding chain by predictor and corrector; before each move take the measured
    coefficients part of the way to data that are as noisy as x (Song et al. 2022, eq. 7 and Alg. 2).

        y_t = y + sigma_t A z                                                    z: fresh noise of images
        x <- x + weight A^+ (y_t - A x)                                          before both of
        x <- x + a s(x, i) + sqrt(2 a) z,   a = 2 (snr |z| / |s|)^2              corrector
        x <- x + (sigma_i^2 - sigma_i-1^2) s(x, i) + sqrt(sigma_i^2 - sigma_i-1^2) z    predictor

    and at the end x + weight A^+ (y - A x). With A = P(Lambda) T of the paper, T the Fourier transform, the
    second line is its x <- T^-1 [weight Lambda y_t + (1 - weight) Lambda T x + (1 - Lambda) T x]. s is the
    score of magnitude pictures in [0, 1]; `exploding` sees any prior as one of a variance-exploding chain.

    Deviates from the reference code: real images get the mirror image of each measured coefficient too (Re of
    the inverse transform there violates the data a little). Complex images and coils, which the paper leaves
    out, are treated as in `ScoreMRI`. The last projection has the same weight as all others (1 in one of the
    code's loops, the weight in another), so that noise in y is not let in at the end; and the last predictor
    move is the final denoising, which adds no noise (a move more there). A sinogram is compared as it was
    measured, by `operators.Radon`, instead of being gridded onto the Fourier plane. The corrector's step has
    a length of its own for each sample and part, so that results do not depend on the batch.

    >>> import headwater as hw
    >>> from headwater.operators import Fourier
    >>> prior, head = hw.Prior.from_pretrained("brain"), hw.load("brain", "test", 32)
    >>> kspace = Fourier("centred").forward((head.images[50:51] + 1) / 2 + 0j)
    >>> kspace[..., ::3] = 0
    >>> method = hw.ScoreInverse(steps=2, highest=1.0, image="real", brightness=1.0)
    >>> found = method.apply(prior, list(kspace), seed=0)
    >>> found.magnitude[0].shape
    torch.Size([32, 32])
    """

    paper: ClassVar[Paper] = Paper(
        title="Solving Inverse Problems in Medical Imaging with Score-Based Generative Models",
        authors="Yang Song, Liyue Shen, Lei Xing, Stefano Ermon",
        year=2022,
        venue="ICLR",
        arxiv="2111.08005",
        code="yang-song/score_inverse_problems",
        claim="One unconditional prior reconstructs from few measurements at accelerations that nothing was "
        "trained for, and less than full trust in the measurements is best where they are noisy.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "a prior of magnitude pictures of that size",
        "k-space, or anything else that a linear operator measured",
    )

    steps: int | None = None
    """Number of timesteps on the way down, even in log sigma; None visits all of the prior's. The paper has
    1000."""
    snr: float = 0.517
    """Signal-to-noise ratio of the corrector; the paper's for MR (0.246 for CT)."""
    weight: float = 1.0
    """Trust in the measurements, from 0 to 1, the paper's lambda: 1 replaces what was measured, less is for
    noisy measurements."""

    def begin(self, a: Operator, y: Tensor, q: Diffusion, t: int, noise: NoiseSource) -> Start:
        """From the noised least-squares image: zero filling, where what was measured is a part of k-space."""
        need(0 <= self.weight <= 1, f"weight is {self.weight}: give a trust from 0 to 1")
        x = q.sample(a.pseudo_inverse(y), t, noise)
        return Start(x, [Consistent(a, y, self.weight, q, noise)])
