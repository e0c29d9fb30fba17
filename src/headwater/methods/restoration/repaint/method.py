"""RePaint: fill any hole with any unconditional prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from headwater.controls import GivenRegion
from headwater.core import ClassifierMean, Control, jumps, through
from headwater.core.guidance import LogProb
from headwater.errors import need
from headwater.methods.base import Images, Mask, Method, Paper, check_mask
from headwater.metrics.image import hole_scores
from headwater.models import Prior
from headwater.modes import evaluating
from headwater.notes import note
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of


@dataclass(frozen=True)
class RePaint(Method):
    """Noise the given pixels to the current timestep, let the prior invent the rest, and repeat each stretch
    of the loop so that the two agree (Lugmayr et al. 2022, Alg. 1).

        x      = known * q(x_t | image) + (1 - known) * x        before every network call
        x_t-1  ~ p(x_t-1 | x_t)                                  the prior's own reverse step
        x_t+j  ~ q(x_t+j | x_t)                                  `jump` forward steps, one by one

    A prior of classes draws the one of `label`, or `classes` in `apply`; with a classifier of noisy pictures
    p(y | x_t) the mean of each step moves by `scale` std^2 grad log p(y | x_t), and any prior will do
    (Dhariwal & Nichol 2021, as the reference does).

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
        "a prior of such pictures",
        "a mask of the known pixels",
    )

    steps: int = 250
    """Number of timesteps visited on the way down, evenly respaced from the prior's own."""
    jump: int = 10
    """Number of respaced timesteps that a forward jump climbs, 1 or more."""
    resample: int = 10
    """Number of times that each stretch of the loop is sampled; 1 never jumps forward."""
    start_resampling: int | None = None
    """Number of steps left from which on the loop jumps forward; None jumps from the beginning."""
    fillings: int = 1
    """Number of fillings of each hole, each of its own noise."""
    label: int | None = None
    """Number of the class that all pictures are of; None where the prior has no classes or one was chosen
    when it was read."""
    scale: float = 1.0
    """Strength of the guidance by a classifier."""

    def plan(self, T: int) -> list[int]:
        """The timesteps visited with a prior of T: by default 4,571 entries and 2,410 network calls.

        Raises UserError for more steps than timesteps, or a jump that does not fit.
        """
        need(self.jump >= 1 and self.resample >= 1, "jump and resample are 1 or more")
        begin = self.steps if self.start_resampling is None else self.start_resampling
        need(
            1 <= begin <= self.steps,
            f"start_resampling is {begin}: give 1 to {self.steps}, the number of steps, or None",
        )
        if self.resample > 1 and self.jump >= begin:
            where = f"{self.steps} steps" if begin == self.steps else f"the last {begin} steps"
            note(f"a jump of {self.jump} never fits into {where}, so nothing is resampled: lower jump")
        walk = jumps(self.steps, (self.jump, self.resample), start=self.start_resampling)
        return through(walk, timesteps_of(T, self.steps))

    def apply(
        self,
        prior: Prior,
        image: Images,
        known: Mask,
        *,
        classes: Sequence[int] | Tensor | None = None,
        classifier: nn.Module | None = None,
        **how: Unpack[RunOptions],
    ) -> Images:
        """Fill `image` where `known` is False.

        image: (B, C, H, W) in [-1, 1]; values in the hole are ignored.
        known: (B or 1, 1, H, W) bool, True where the pixel is given.
        classes: B numbers, the class of each picture, in place of `label`.
        classifier: from (x_t (B, C, H, W), what the network is told of t (B,)) to logits (B, classes),
            trained on noisy pictures, such as guided-diffusion's.
        Returns (B, C, H, W), given pixels untouched; (B, fillings, C, H, W) for several fillings. Raises
        UserError when shapes disagree, or a class is asked for that nobody knows.
        """
        q, n = prior.process, len(image)
        prior.check(image)
        check_mask(known, image)
        need(self.fillings >= 1, f"fillings is {self.fillings}: fill each hole once or more")
        y = self._classes(prior, classes, n, classifier is not None)
        run = Run(**how)
        if classifier is not None:
            classifier.to(run.device)

        def begin(batch: Batch) -> Start:
            given = batch.take(image)
            region = GivenRegion(given, batch.take(known), q, batch.noise)
            controls: list[Control] = [region, *prior.controls]
            own = None if y is None else batch.take(y)
            if classifier is not None and own is not None:
                controls.append(ClassifierMean(log_probability(classifier, own), self.scale))
            told = {"y": own} if own is not None and prior.config.class_count else {}
            return Start(q.start(given, batch.noise), controls, told)

        with evaluating(classifier):
            filled = sample(
                prior.denoiser, self.plan(q.T), n, begin, run, sampler=prior.sampler, law=prior.noise,
                draws=self.fillings, label="pictures",
            )  # fmt: skip
        filled = filled.unflatten(0, (n, -1))
        filled = image.cpu()[:, None].where(known.cpu()[:, None], filled)
        return filled[:, 0] if self.fillings == 1 else filled

    def _classes(
        self, prior: Prior, classes: Sequence[int] | Tensor | None, n: int, guided: bool
    ) -> Tensor | None:
        """The class of each picture, (n,) int64; None where none is said. UserError for one nobody knows."""
        if classes is None:
            need(
                not guided or self.label is not None, "a classifier guides to a class: give label or classes"
            )
            classes = None if self.label is None else [self.label] * n
        if classes is None:
            return None
        y, count = torch.as_tensor(classes, dtype=torch.int64), prior.config.class_count
        need(
            tuple(y.shape) == (n,), f"classes are {tuple(y.shape)}: give one number for each of {n} pictures"
        )
        need(
            count > 0 or guided,
            "this prior knows no classes: leave label and classes out, or give a classifier that guides it",
        )
        low, high = int(y.min()), int(y.max())
        need(
            low >= 0 and (count == 0 or high < count),
            f"a class is {low if low < 0 else high}: give 0 to {count - 1}" if count else
            f"a class is {low}: give 0 or more",
        )  # fmt: skip
        return y

    def evaluate(self, filled: Images, truth: Images, known: Mask) -> dict[str, float]:
        """How far the filled images are from the truth, and how visible the edge of the hole is; of several
        fillings (B, fillings, C, H, W) the mean over all.

        hole_mse: mean squared error over the hole, range [-1, 1]. psnr: of whole images, dB. seam: mean step
        across the edge of the hole minus that of the truth; 0 is seamless.
        """
        if filled.ndim == 5:
            n = filled.shape[1]
            known = known.expand(len(truth), -1, -1, -1).repeat_interleave(n, 0)
            filled, truth = filled.flatten(0, 1), truth.repeat_interleave(n, 0)
        return hole_scores(filled, truth, known)


def log_probability(classifier: nn.Module, y: Tensor) -> LogProb:
    """log p(y | x_t) of a classifier of noisy pictures for the classes y (B,)."""

    def value(x: Tensor, label: Tensor) -> Tensor:
        logits = classifier(x, label)
        count = logits.shape[1]
        need(
            int(y.max()) < count,
            f"a class is {int(y.max())}, and the classifier knows {count}: give 0 to {count - 1}",
        )
        return logits.log_softmax(1).gather(1, y.clone()[:, None])[:, 0]

    return value
