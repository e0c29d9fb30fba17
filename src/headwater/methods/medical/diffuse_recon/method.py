"""DiffuseRecon: average many short chains that are held to the measured k-space, and refine their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Unpack, cast

import torch
from torch import Tensor, nn

from headwater.controls import Consistent
from headwater.core import Ancestral, Control, Denoises, Diffusion, Gaussian, Prediction, Sampler
from headwater.core.sampler import State
from headwater.core.transition import NoiseSource, Transition
from headwater.core.views import View
from headwater.errors import need
from headwater.methods.base import CoilMaps, Mask, Paper, Volumes
from headwater.methods.medical.diffuse_recon.volumes import Windows
from headwater.methods.medical.shared.reconstructs import (
    MAGNITUDES,
    Reconstruction,
    Reconstructs,
    brightness_gain,
)
from headwater.methods.medical.shared.scan import Rows
from headwater.models import Prior
from headwater.nets.wrappers import ComplexChannels, RealAndImaginary
from headwater.operators import Operator
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of

Injected = Literal["fresh", "predicted"]


@dataclass(frozen=True)
class DiffuseRecon(Reconstructs):
    """Denoise in few steps, and after each put the measured coefficients into x, as noisy as x is; average
    several such samples, and refine their mean by the last steps of a finer chain (Peng et al. 2022).

        x      ~ p(x_s | x_t)                        ancestral, with the forward step's variance
        x     <- x + A^+ (y_s - A x),                y_s = alpha_s y + sigma_s A n, and y itself at s = 0
        mean  <- the average of `samples` such x_0
        mean  <- mu(x_s | x_t = mean) + A^+ (y - A mu)       for the last `refine_steps` of the finer chain

    n is fresh noise, as the paper says, or the noise that the network predicts at t, as its code has it. With
    one coil A^+ (y - A x) replaces the measured part of the Fourier transform of x. The uncertainty is the
    standard deviation over the samples, before they are refined.

    Two kinds of prior will do. One of pairs of neighbouring slices, 4 channels for the real and imaginary
    part of each, is the paper's: every slice of a volume is drawn with the one before it and with the one
    after it, and both count in its mean (recipes/prior trains one). One of magnitude pictures sees real and
    imaginary part of a slice as pictures of their own, as in `ScoreMRI`, with `image`, `combine` and coils as
    there; each slice is then reconstructed alone. For pairs those settings mean nothing.

    Deviates from the reference code: k-space is scaled by what was measured (there each slice is divided by
    the maximum of its fully sampled picture, which nobody has); every pair of a volume is refined, and the
    two results of a slice are averaged (there one pair is refined alone); the number of refining steps and
    the chain that they belong to are settings.

    >>> import headwater as hw
    >>> from headwater.operators import Fourier
    >>> prior, head = hw.Prior.from_pretrained("brain"), hw.load("brain", "test", 32)
    >>> kspace = Fourier("centred").forward((head.images[50:51] + 1) / 2 + 0j)
    >>> kspace[..., ::3] = 0
    >>> method = hw.DiffuseRecon(steps=2, samples=2, refine_steps=1, brightness=1.0)
    >>> found = method.apply(prior, list(kspace), seed=0)
    >>> found.magnitude[0].shape, found.uncertainty[0].shape
    (torch.Size([32, 32]), torch.Size([32, 32]))
    """

    paper: ClassVar[Paper] = Paper(
        title="Towards performant and reliable undersampled MR reconstruction via diffusion model sampling",
        authors="Cheng Peng, Pengfei Guo, S. Kevin Zhou, Vishal M. Patel, Rama Chellappa",
        year=2022,
        venue="MICCAI",
        arxiv="2203.04292",
        code="cpeng93/DiffuseRecon",
        claim="One network reconstructs at accelerations that nothing was trained for; the mean of short "
        "chains, refined, is better than one long chain at a fraction of its network calls, and their spread "
        "shows where it errs.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "a prior of magnitude pictures, or of pairs of complex slices, of that size",
        "k-space with a measured centre",
    )

    samples: int = 10
    """Number of coarse samples drawn per slice, of which mean and spread are taken; in a volume so many with
    each of its two neighbours."""
    steps: int = 100
    """Number of timesteps of each coarse sample, evenly spaced over the chain."""
    refine_steps: int = 20
    """Number of timesteps, the last ones of the finer chain, by which the mean is refined; 0 leaves the mean
    as it is."""
    refine_chain: int = 500
    """Number of timesteps of the finer chain, evenly spaced over the prior's."""
    noise: Injected = "fresh"
    """Noise that the measured coefficients get before they are put into x: fresh, as in the paper, or what
    the network predicts, as in its code."""

    def plans(self, q: Diffusion) -> tuple[list[int], list[int]]:
        """Timesteps of a coarse sample, and of the refinement. UserError where a process has not as many."""
        fits = 0 <= self.refine_steps <= self.refine_chain <= q.T
        need(
            fits,
            f"refine_steps is {self.refine_steps}, refine_chain {self.refine_chain}: give a chain of at most "
            f"{q.T} timesteps, the prior's, and no more steps than it has",
        )
        need(self.noise in ("fresh", "predicted"), f"noise is {self.noise!r}: choose fresh or predicted")
        return timesteps_of(q, self.steps), timesteps_of(q, self.refine_chain)[-self.refine_steps - 1 :]

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
        """Reconstruct n slices, or with a prior of pairs n volumes.

        kspace: n tensors complex64, origin in the middle (fastMRI), of the prior's H and W or oversampled
            along a readout, zeros where nothing was measured: (H, W) or (coils, H, W), or for pairs
            neighbours (slices, H, W) of one coil.
        known: bool (n or 1, 1, H, W), True = measured; without it, what is not 0 counts as measured.
        maps: n or 1 tensors complex64 (coils, H, W) of the prior's size; without them they come from the
            centre of k-space.
        operator: any other linear measurement of images (B, 1, H, W); `kspace` is then what it measured.
        Returns n pictures (H, W), or n volumes (slices, H, W). Raises UserError for other
        sizes, k-space without anything measured, or a centre too small for coil maps.
        """
        if prior.shape[0] != 4:
            return super().apply(prior, kspace, known, maps, operator=operator, **how)
        run = Run(**how)
        need(
            operator is None, "a prior of pairs reads k-space: leave operator out, or take one of magnitudes"
        )
        need(maps is None, "a prior of pairs knows one coil: leave maps out")
        need(self.samples >= 1, f"samples is {self.samples}: draw 1 sample or more")
        need(len(kspace) > 0, "there is no k-space: give at least one volume")
        self.check(prior)
        fits = known is None or len(known) in (1, len(kspace))
        need(
            fits, f"there are {len(kspace)} volumes and another number of masks: give one for all or one each"
        )
        found = [
            self._volume(prior, Windows.of(volume, known, i, prior.shape[1:], run.device), i, run)
            for i, volume in enumerate(kspace)
        ]
        images, spreads, samples = ([v[k] for v in found] for k in range(3))
        return Reconstruction([v.abs() for v in images], spreads, images, samples)

    def sample(self, prior: Prior, scan: Rows, run: Run) -> Tensor:
        return self._coarse(prior, scan, run, lambda row: (run.first + row,))[:, :, 0]

    def refine(self, prior: Prior, scan: Rows, drawn: Tensor, run: Run) -> Tensor:
        return self._refined(prior, scan, drawn.mean(1)[:, None], run)[:, 0]

    def _volume(self, prior: Prior, scan: Windows, number: int, run: Run) -> tuple[Tensor, Tensor, Tensor]:
        """Refined image and spread of one volume, (slices, H, W), and its samples, (samples, slices, H, W):
        every pair of neighbours is a row of `scan`."""
        gain = brightness_gain(prior, scan, self.brightness, run).reshape(-1, 1, 1, 1)
        scaled = scan.scaled(gain)
        drawn = self._coarse(prior, scaled, run, lambda row: (run.first + number, row)) / gain[:, None].cpu()
        mean = scan.slices(drawn.mean(1))
        refined = self._refined(prior, scaled, scan.pairs(mean) * gain.cpu(), run) / gain.cpu()
        spread = drawn.abs().std(1) if self.samples > 1 else torch.zeros_like(drawn[:, 0].abs())
        samples = torch.stack([scan.slices(one) for one in drawn.unbind(1)])
        return scan.slices(refined), scan.slices(spread), samples

    def _denoiser(self, prior: Prior, real: bool) -> Denoises:
        """The prior as one of images: real, complex, or complex pairs."""
        if prior.shape[0] == 4:
            network = ComplexChannels(cast(nn.Module, prior.denoiser.network))
            return replace(prior.denoiser, network=network)
        own, (scale, shift) = prior.denoiser, MAGNITUDES
        if not real:
            own = replace(own, network=RealAndImaginary(cast(nn.Module, own.network)))
        q, some = own.process, own.process.alpha > 0  # pure noise is no picture in other units
        return View(own, Diffusion(q.alpha[some], scale * q.sigma[some], q.label[some]), scale, shift)

    def check(self, prior: Prior) -> None:
        self.plans(self._denoiser(prior, True).process)

    def _coarse(self, prior: Prior, scan: Rows, run: Run, key: Callable[[int], Sequence[int]]) -> Tensor:
        """Samples of each row of a scan, (rows, samples, slices, H, W)."""
        denoiser = self._denoiser(prior, scan.real)
        q: Diffusion = denoiser.process
        plan, _ = self.plans(q)

        def begin(batch: Batch) -> Start:
            here = scan.rows(batch.rows)
            a = here.operator(self.damping)
            x = q.start(torch.empty_like(a.adjoint(here.y)), batch.noise)
            guide = Guided(a, here.y, q, None if self.noise == "predicted" else batch.noise)
            return Start(x, [guide, *prior.controls])

        drawn = [
            sample(
                denoiser, plan, len(scan.y), begin, run, sampler=Ancestral("large"), law=prior.noise,
                key=lambda i, _, k=k: (k, *key(i)), label=f"slices, sample {k + 1} of {self.samples}",
            )
            for k in range(self.samples)
        ]  # fmt: skip
        return torch.stack(drawn, 1)

    def _refined(self, prior: Prior, scan: Rows, mean: Tensor, run: Run) -> Tensor:
        """Images (rows, slices, H, W) after the last steps of the finer chain, which draw nothing."""
        denoiser = self._denoiser(prior, scan.real)
        _, plan = self.plans(denoiser.process)
        if len(plan) == 1:
            return mean

        def begin(batch: Batch) -> Start:
            here = scan.rows(batch.rows)
            a = here.operator(self.damping)
            return Start(batch.take(mean), [*prior.controls, Consistent(a, here.y)])

        how = {"sampler": PosteriorMean(), "law": prior.noise, "label": "slices, refined"}
        return sample(denoiser, plan, len(mean), begin, run, **how)


@dataclass(eq=False)
class Guided(Control):
    """Put the measured coefficients into x after every step, as noisy as x is; at the end as they are."""

    operator: Operator
    y: Tensor
    process: Diffusion
    noise: NoiseSource | None
    """Where the noise comes from; None takes what the network predicted in this step."""
    predicted: Tensor | None = None

    def denoised(self, pred: Prediction) -> Prediction:
        if self.noise is None:
            self.predicted = pred.eps  # as the network says it, before anything else clips the estimate
        return pred

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        if s == 0:
            return self.operator.project(x, self.y)
        alpha, sigma = self.process.scales(s)
        noise = self.predicted if self.noise is None else self.noise(x, s)
        assert noise is not None
        return self.operator.project(x, alpha * self.y + sigma * self.operator.forward(noise))


@dataclass(frozen=True)
class PosteriorMean(Sampler):
    """The mean of the ancestral step, without its noise."""

    def step(self, q: Diffusion, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        return Gaussian(q.posterior(pred.x, pred.x0, pred.t, s).mean, 0.0), None
