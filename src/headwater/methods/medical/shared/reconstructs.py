"""What every method does that reconstructs scans by sampling a prior of magnitude pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack, cast

import torch
from torch import Tensor, nn

from headwater.core import Ancestral, Diffusion, DPMSolver, Langevin, PredictorCorrector
from headwater.core.transition import NoiseSource
from headwater.core.views import View, exploding
from headwater.data.stacking import out_of_range, stack_kspace
from headwater.errors import need
from headwater.methods.base import CoilMaps, Complex, Magnitude, Mask, Method, Volumes
from headwater.methods.medical.shared.scan import Combine, Image, Measured, Rows, Scan
from headwater.metrics.image import magnitude_scores
from headwater.models import Prior
from headwater.nets.wrappers import RealAndImaginary
from headwater.operators import Operator, Radon
from headwater.operators.named import scanner_of
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of


@dataclass(frozen=True)
class Reconstruction:
    """What comes out, in the units of the k-space."""

    magnitude: Magnitude
    """The mean over the samples, or what the method refines of it."""
    uncertainty: Magnitude
    """Standard deviation over the samples."""
    image: Complex
    """The complex image with the phase that it was measured with, of which the mean over the samples is taken
    as it is for the magnitude: (H, W), of coils apart (coils, H, W). Its magnitude is at most `magnitude`, as
    phases that differ cancel."""
    samples: Complex
    """The samples themselves, one before the other: (samples, ...), each like `image`."""


@dataclass(frozen=True)
class Reconstructs(Method):
    """Scale a scan to the prior, `sample` images of it, return mean and spread in the units of the scan."""

    samples: int = 1
    """Number of reconstructions drawn per slice; their mean is returned. One has no uncertainty: 4 or more
    show it."""
    by: str = "fourier"
    """What was measured: `fourier` for k-space, `radon` for sinograms whose views are evenly spread over half
    a turn, or `radon DEGREES` or `radon FILE` with the angles as an .npy in degrees."""
    image: Image = "phased"
    """Kind of image sought: complex in the frame of its smooth phase, complex in the frame that it was
    measured in, or real."""
    combine: Combine = "sense"
    """Treatment of coils: one image seen through coil maps, or one image for each coil, then the root of the
    sum of squares."""
    damping: float = 0.3
    """Forgiveness of errors of the coil maps: A^+ minimises |A x - y|^2 + damping |x|^2."""
    brightness: float | None = None
    """99th percentile of a picture of the prior, of 0..1, to which k-space is scaled. None measures it on
    pictures drawn from the prior."""

    @abstractmethod
    def check(self, prior: Prior) -> None:
        """Raises UserError, before anything is drawn, for settings that this prior cannot follow."""

    @abstractmethod
    def sample(self, prior: Prior, scan: Rows, run: Run) -> Tensor:
        """Draw `samples` images of each row of a scan: (rows, samples, H, W), real or complex.

        Sample k of row i depends on (run.seed, k, i) alone.
        """

    def refine(self, prior: Prior, scan: Rows, drawn: Tensor, run: Run) -> Tensor | None:
        """One image of each row, (rows, H, W), made of its samples; None averages their magnitudes."""
        return None

    def apply(
        self,
        prior: Prior,
        kspace: Volumes,
        known: Mask | None = None,
        maps: CoilMaps | None = None,
        *,
        operator: Operator | None = None,
        **how: Unpack[RunOptions],
    ) -> Reconstruction:
        """Reconstruct n slices.

        kspace: n tensors complex64 (H, W) or (coils, H, W), origin in the middle (fastMRI), zeros where
            nothing was measured. H and W are the prior's; an axis that is longer, such as an oversampled
            readout, is cut to its middle in the picture, if lines along it were measured whole or not at all.
            known: bool (n or 1, 1, H, W), True = measured; without it, what is not 0 counts as measured. With
            `by` radon: n sinograms float32 (views, detectors), and known of their size, without which all was
            measured.
        maps: n or 1 tensors complex64 (coils, H, W) of the prior's size, which coil sees what; only their
            ratio at a pixel counts. Without them they come from the centre of k-space.
        operator: any other linear measurement of images (B, 1, H, W); `kspace` is then what it measured.
        Returns n pictures. Raises UserError for other sizes, k-space without anything
        measured, or a centre too small for coil maps.
        """
        run = Run(**how)
        need(prior.shape[0] == 1, "this prior draws colour pictures: take one of grey magnitude pictures")
        need(self.samples >= 1, f"samples is {self.samples}: draw 1 sample or more")
        self.check(prior)
        if operator is None and self.by != "fourier":
            operator = self._scanner(prior, kspace, known)
        if operator is None:
            y, mask = stack_kspace(kspace, known, prior.shape[1:], run.device)
            one_coil = self.image != "real" or y.shape[1] == 1
            need(one_coil, "with several coils no image is real: set image to phased")
            own = None if maps is None else self._own(maps, y)
            scan: Rows = Scan.of(y, mask, self.combine, self.image, own)
        else:
            need(maps is None, "coil maps go with k-space: leave maps out where something else was measured")
            scan = self._measured(prior, kspace, operator, run.device)
        gain = brightness_gain(prior, scan, self.brightness, run)
        scan = scan.scaled(gain)
        drawn = self.sample(prior, scan, run)
        refined, n = self.refine(prior, scan, drawn, run), len(kspace)

        def back(images: Tensor) -> Tensor:
            """Rows (R, ..., H, W) in the units of the scan, complex: (n, ..., H, W), coils before H."""
            found = images / gain.reshape(-1, *[1] * (images.ndim - 1)).cpu()
            found = scan.framed(found + 0j).to(torch.complex64).cpu()
            return found if len(found) == n else found.unflatten(0, (n, -1)).movedim(1, -3)

        def magnitude(images: Tensor) -> Tensor:
            return images.abs() if len(drawn) == n else images.abs().square().sum(-3).sqrt()

        every = back(drawn)
        found, image = magnitude(every), every.mean(1) if refined is None else back(refined)
        spread = found.std(1) if self.samples > 1 else torch.zeros_like(found[:, 0])
        best = found.mean(1) if refined is None else magnitude(image)
        return Reconstruction(list(best), list(spread), list(image), list(every))

    def _own(self, maps: Sequence[Tensor], y: Tensor) -> Tensor:
        """Coil maps of the user's own, one for each slice of k-space (n, C, H, W). UserError where they do
        not fit it."""
        need(self.combine == "sense", "coils that are reconstructed apart need no maps: set combine to sense")
        shapes, wanted = sorted({tuple(m.shape) for m in maps}), tuple(y.shape[1:])
        need(
            len(maps) in (1, len(y)) and shapes == [wanted],
            f"maps are {len(maps)} of {shapes}: give 1 or {len(y)} complex ones of {wanted}, of the size "
            "that the prior draws",
        )
        own = torch.stack([m.to(y.dtype) for m in maps]).to(y.device)
        need(bool(own.isfinite().all()), "maps hold values that are not finite: replace them with 0")
        need(bool(own.abs().amax((1, 2, 3)).gt(0).all()), "maps are 0 everywhere: give what each coil sees")
        return own.expand(len(y), -1, -1, -1)

    def _scanner(self, prior: Prior, sinograms: Sequence[Tensor], known: Tensor | None) -> Radon | None:
        """The scanner that `by` names. UserError where it does not fit the sinograms (views, detectors)."""
        need(len(sinograms) > 0, "there is nothing measured: give at least one sinogram")
        size = prior.shape[1], prior.shape[2]
        if self.by.split()[:1] != ["radon"]:  # says what is wrong before what is measured is looked at
            return scanner_of(self.by, size, (1, 1))
        sizes = {tuple(y.shape) for y in sinograms}
        one = len(sizes) == 1 and all(y.ndim == 2 and not y.is_complex() for y in sinograms)
        need(one, f"sinograms are {sorted(sizes)}: give real ones (views, detectors), all of one size")
        views, detectors = next(iter(sizes))
        scanner = scanner_of(self.by, size, (views, detectors))
        if scanner is None or known is None:
            return scanner
        fits = known.shape[1:] == (1, views, detectors) and len(known) in (1, len(sinograms))
        need(fits, f"known is {tuple(known.shape)}: give (1 or {len(sinograms)}, 1, {views}, {detectors})")
        return scanner.knowing(known)

    def _measured(self, prior: Prior, given: Sequence[Tensor], a: Operator, device: str) -> Measured:
        """What an operator of one's own measured. UserError where it does not fit the prior."""
        need(len(given) > 0, "there is nothing measured: give at least one slice")
        y = torch.stack(list(given)).to(device)
        wrong = out_of_range(y)
        need(not wrong, f"what was measured {wrong}")
        y = y[:, None] if isinstance(a, Radon) and y.ndim == 3 else y
        real = self.image == "real" or not y.is_complex()
        blank = torch.zeros(1, *prior.shape, device=device)
        wanted = tuple(a.forward(blank if real else blank + 0j).shape[1:])
        need(
            tuple(y.shape[1:]) == wanted,
            f"{tuple(y.shape[1:])} was measured of each slice, but of pictures of the prior the operator "
            f"makes {wanted}: give what it measures, or another prior",
        )
        return Measured(a.kept(y), a, real)

    def evaluate(self, magnitude: Magnitude, truth: Magnitude) -> dict[str, float]:
        """psnr (dB) and ssim, means over slices, against fully sampled pictures whose maximum is the peak."""
        return magnitude_scores(magnitude, truth)


@dataclass(frozen=True)
class Corrects(Reconstructs):
    """Predictor and corrector of a variance-exploding chain, held to what was measured by `begin`."""

    steps: int | None = None
    """Number of timesteps on the way down, even in log sigma; None visits all of the prior's."""
    highest: float | None = None
    """Standard deviation of the noise to start at, for pictures in 0..1: the zero-filled image is noised
    that far. None: the prior's highest, as in the paper."""
    snr: float = 0.16
    """Signal-to-noise ratio of the corrector."""
    corrections: int = 1
    """Number of corrector moves at each timestep, 0 or more."""

    @abstractmethod
    def begin(self, a: Operator, y: Tensor, q: Diffusion, t: int, noise: NoiseSource) -> Start:
        """How the loop begins at timestep t of q for images behind y (R, ...): x, and the control."""

    def check(self, prior: Prior) -> None:
        need(self.corrections >= 0, f"corrections is {self.corrections}: make 0 or more")
        self.plan(magnitudes(prior).process)

    def plan(self, q: Diffusion) -> list[int]:
        """Timesteps of a variance-exploding process that are visited. UserError where none is left."""
        whole = timesteps_of(q, self.steps, "log-snr")
        kept = [t for t in whole if self.highest is None or float(q.sigma[t]) <= self.highest]
        need(len(kept) > 1, f"no timestep has a noise of at most {self.highest}: set highest higher")
        return kept

    def sample(self, prior: Prior, scan: Rows, run: Run) -> Tensor:
        denoiser = magnitudes(prior, scan.real)
        plan = self.plan(denoiser.process)

        def begin(batch: Batch) -> Start:
            here = scan.rows(batch.rows)
            return self.begin(here.operator(self.damping), here.y, denoiser.process, plan[0], batch.noise)

        sampler = PredictorCorrector(Ancestral("large"), Langevin(self.snr, "part"), self.corrections)
        drawn = [
            sample(
                denoiser, plan, len(scan.y), begin, run, sampler=sampler, law=prior.noise,
                key=lambda i, _, k=k: (k, run.first + i), label=f"slices, sample {k + 1} of {self.samples}",
            )[:, 0]
            for k in range(self.samples)
        ]  # fmt: skip
        return torch.stack(drawn, 1)


MAGNITUDES = 0.5, 0.5
"""Scale and shift from a prior's pictures, in [-1, 1], to magnitudes in [0, 1]."""


def magnitudes(prior: Prior, real: bool = True) -> View:
    """A prior as a variance-exploding one of magnitudes; unless `real`, of complex images, whose two parts
    its network sees as pictures of their own."""
    own = prior.denoiser
    if not real:
        own = replace(own, network=RealAndImaginary(cast(nn.Module, own.network)))
    return exploding(own, *MAGNITUDES)


def brightness_gain(prior: Prior, scan: Rows, brightness: float | None, run: Run) -> Tensor:
    """What to multiply each row of a scan with so that its image is as bright as the prior's, (R,).

    Compared is the 99th percentile of the magnitude without a prior: of the scan, and of 8 pictures of the
    prior that were measured alike. `brightness` stands in for the latter if given.
    """

    def bright(magnitude: Tensor) -> Tensor:
        return magnitude.flatten(1).quantile(0.99, dim=1)

    own = bright(scan.rough()).clamp(min=1e-12)
    if brightness is not None:
        return brightness / own
    plan = timesteps_of(prior.process, min(15, prior.process.T), "log-snr")
    drawn = prior.sample(8, plan, DPMSolver(), **replace(run, progress=False, first=0)).to(scan.y.device)
    if prior.shape[0] == 1:  # magnitudes; pairs of complex slices are in units of their own
        drawn = ((drawn + 1) / 2).clamp(0, 1)
    usual = [bright(rough).median() for rough in scan.rough_of(drawn)]
    return torch.stack(usual) / own
