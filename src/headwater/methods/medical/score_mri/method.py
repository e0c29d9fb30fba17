"""Score-MRI: reconstruct any undersampled k-space with one prior of magnitude pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from headwater.controls import Consistent
from headwater.core import Ancestral, Diffusion, DPMSolver, Langevin, PredictorCorrector
from headwater.core.views import View, exploding
from headwater.data.kspace import stack_kspace
from headwater.errors import need
from headwater.methods.base import Magnitude, Mask, Method, Paper, Volumes
from headwater.metrics.image import magnitude_scores
from headwater.models import Prior
from headwater.nets.wrappers import RealAndImaginary
from headwater.operators import Coils, Fourier, OfReal, Operator, Sampled, Turned
from headwater.operators.calibration import coil_maps, low_resolution, phase_of, sum_of_squares
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of

Image = Literal["phased", "complex", "real"]
Combine = Literal["sense", "ssos"]


@dataclass(frozen=True)
class Reconstruction:
    """What comes out, in the units of the k-space: mean and standard deviation over the samples."""

    magnitude: Magnitude
    uncertainty: Magnitude


@dataclass(frozen=True)
class ScoreMRI(Method):
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
    highest: float | None = None
    """Standard deviation of the noise to start at, for pictures in 0..1: the zero-filled image is noised
    that far. None: the prior's highest, as in the paper."""
    snr: float = 0.16
    """Signal-to-noise ratio of the corrector."""
    corrections: int = 1
    """Number of corrector moves at each timestep, 0 or more."""
    samples: int = 1
    """Number of reconstructions drawn per slice; their mean is returned. One has no uncertainty: 4 or more
    show it."""
    image: Image = "phased"
    """Kind of image sought: complex in the frame of its smooth phase; complex in the frame that it was
    measured in (the paper's Alg. 3); or real (Alg. 2; one coil)."""
    combine: Combine = "sense"
    """Treatment of coils: one image seen through coil maps (Alg. 5), or one image for each coil, then the
    root of the sum of squares (Alg. 4)."""
    damping: float = 0.3
    """Forgiveness of errors of the coil maps: A^+ minimises |A x - y|^2 + damping |x|^2."""
    brightness: float | None = None
    """99th percentile of a picture of the prior, of 0..1, to which k-space is scaled. None measures it on
    pictures drawn from the prior."""

    def apply(
        self, prior: Prior, kspace: Volumes, known: Mask | None = None, **how: Unpack[RunOptions]
    ) -> Reconstruction:
        """Reconstruct n slices.

        kspace: n tensors complex64 (H, W) or (coils, H, W), origin in the middle (fastMRI), of the prior's H
            and W, zeros where nothing was measured. known: bool (n or 1, 1, H, W), True = measured; without
            it, what is not 0 counts as measured.
        Returns n pictures float32 (H, W) twice. Raises UserError for other sizes, k-space without anything
        measured, or a centre too small for coil maps.
        """
        run = Run(**how)
        need(prior.shape[0] == 1, "this prior draws colour pictures: take one of grey magnitude pictures")
        need(self.samples >= 1 and self.corrections >= 0, "give 1 sample or more, 0 corrections or more")
        y, mask = stack_kspace(kspace, known, prior.shape[1:], run.device)
        one_coil = self.image != "real" or y.shape[1] == 1
        need(one_coil, "with several coils no image is real: set image to phased")
        scan = Scan.of(y, mask, self.combine, self.image)
        gain = brightness_gain(prior, scan, self.brightness, run).reshape(-1, 1, 1, 1)
        found = self.sample(prior, replace(scan, y=scan.y * gain), run).abs() / gain.cpu()
        if self.combine == "ssos":
            found = found.unflatten(0, (len(y), -1)).square().sum(1).sqrt()
        spread = found.std(1) if self.samples > 1 else torch.zeros_like(found[:, 0])
        return Reconstruction(list(found.mean(1).cpu()), list(spread.cpu()))

    def plan(self, q: Diffusion) -> list[int]:
        """Timesteps of a variance-exploding process that are visited. UserError where none is left."""
        whole = timesteps_of(q, self.steps, "log-snr")
        kept = [t for t in whole if self.highest is None or float(q.sigma[t]) <= self.highest]
        need(len(kept) > 1, f"no timestep has a noise of at most {self.highest}: set highest higher")
        return kept

    def sample(self, prior: Prior, scan: Scan, run: Run) -> Tensor:
        """Draw `samples` images of each row of a scan: (rows, samples, H, W), real or complex.

        Sample k of row i depends on (run.seed, k, i) alone.
        """
        network = prior.network if scan.real else RealAndImaginary(prior.network)
        denoiser: View = exploding(prior.config.denoiser(network), *units(prior))
        plan = self.plan(denoiser.process)

        def begin(batch: Batch) -> Start:
            here = scan.rows(batch.rows)
            a = here.operator(self.damping)
            x = denoiser.process.sample(a.adjoint(here.y), plan[0], batch.noise)
            return Start(a.project(x, here.y), [Consistent(a, here.y)])

        sampler = PredictorCorrector(Ancestral("large"), Langevin(self.snr, "part"), self.corrections)
        drawn = [
            sample(
                denoiser, plan, len(scan.y), begin, run, sampler=sampler, law=prior.noise,
                key=lambda i, _, k=k: (k, run.first + i), label=f"slices, sample {k + 1} of {self.samples}",
            )[:, 0]
            for k in range(self.samples)
        ]  # fmt: skip
        return torch.stack(drawn, 1)

    def evaluate(self, magnitude: Magnitude, truth: Magnitude) -> dict[str, float]:
        """psnr (dB) and ssim, means over slices, against fully sampled pictures whose maximum is the peak."""
        return magnitude_scores(magnitude, truth)


@dataclass(frozen=True, eq=False)
class Scan:
    """Rows of k-space to be reconstructed each on its own: slices, or single coils of slices.

    y: (R, C, H, W) complex. mask: bool (R, 1, H, W). through: what multiplies the image before the Fourier
    transform: coil maps (R, C, H, W), or a phase of modulus 1 (R, 1, H, W) if there is one coil.
    real: whether the image sought is real.
    """

    y: Tensor
    mask: Tensor
    through: Tensor
    real: bool = False

    @classmethod
    def of(cls, y: Tensor, mask: Tensor, combine: Combine, image: Image) -> Scan:
        """k-space (n, C, H, W) and masks as rows: n for `sense` and for one coil, n * C for `ssos`.

        Maps, and with `phased` the smooth phase of the image, come from the centre of k-space. UserError
        where that is too small for maps.
        """
        if combine == "ssos":
            y, mask = y.flatten(0, 1)[:, None], mask.repeat_interleave(y.shape[1], 0)
        maps = coil_maps(y, mask) if y.shape[1] > 1 else torch.ones_like(y)
        if image == "phased":
            maps = maps * phase_of((maps.conj() * low_resolution(y, mask)).sum(1, keepdim=True))
        return cls(y, mask, maps, image == "real")

    def rows(self, which: slice) -> Scan:
        """Some of the rows."""
        return replace(self, y=self.y[which], mask=self.mask[which], through=self.through[which])

    def operator(self, damping: float) -> Operator:
        """From images (R, 1, H, W) to the measured part of k-space (R, C, H, W)."""
        inside = Sampled(Fourier("centred"), self.mask)
        several = self.through.shape[1] > 1
        a = Coils(inside, self.through, damping, 15) if several else Turned(inside, self.through)
        return OfReal(a) if self.real else a


def units(prior: Prior) -> tuple[float, float]:
    """Scale and shift from the prior's pictures to magnitudes: (x + 1) / 2, or x for a network of [0, 1].

    NCSN++ (`headwater.nets.ncsnpp`) says by `centred: false` that it was trained on [0, 1].
    """
    return (1.0, 0.0) if prior.config.network.get("centred") is False else (0.5, 0.5)


def brightness_gain(prior: Prior, scan: Scan, brightness: float | None, run: Run) -> Tensor:
    """What to multiply each row of a scan with so that its image is as bright as the prior's, (R,).

    Compared is the 99th percentile of the magnitude after zero filling: of the scan, and of 8 pictures of the
    prior that were masked alike. `brightness` stands in for the latter if given.
    """

    def bright(magnitude: Tensor) -> Tensor:
        return magnitude.flatten(1).quantile(0.99, dim=1)

    transform = Fourier("centred")
    own = bright(sum_of_squares(transform.pseudo_inverse(scan.y))).clamp(min=1e-12)
    if brightness is not None:
        return brightness / own
    plan = timesteps_of(prior.process, min(15, prior.process.T), "log-snr")
    drawn = prior.sample(8, plan, DPMSolver(), **replace(run, progress=False, first=0)).to(scan.y.device)
    scale, shift = units(prior)
    k = transform.forward((scale * drawn + shift).clamp(0, 1) + 0j)
    usual = [bright(transform.pseudo_inverse(k * m).abs()).median() for m in scan.mask]
    return torch.stack(usual) / own
