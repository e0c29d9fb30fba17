"""What purifiers share: a walk up and down a prior, and a classifier that answers from where it ends."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core import Control, Denoises, Sampler, last, reverse
from headwater.data.levels import digits
from headwater.errors import UserError, need
from headwater.methods.base import Images, Method
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.modes import evaluating
from headwater.noise import Stream, derive
from headwater.sampling import Batch, Recomputed, Run, RunOptions, Start, sample


def check_level(level: int, steps: int, T: int) -> None:
    """Raises UserError unless a prior of T levels has this one, with so many steps down from it."""
    need(1 <= level <= T, f"this prior has {T} levels: set level between 1 and {T}")
    need(1 <= steps <= level, f"level is {level}: set steps between 1 and {level}")


class Purifies(Method, ABC):
    """Washes what an attacker added out of pictures. Subclasses say which timesteps are visited and how."""

    needs: ClassVar[tuple[str, ...]] = ("an unconditional prior of such pictures",)
    clamps: ClassVar[bool] = True
    """Whether what comes out is cut to [-1, 1]."""

    @abstractmethod
    def plan(self, T: int) -> list[int]:
        """The timesteps visited with a prior of T, from 0 up and down to 0. Raises UserError for settings
        that such a prior cannot follow."""

    @abstractmethod
    def sampler(self, prior: Prior) -> Sampler:
        """How a step is taken."""

    def start(self, prior: Prior, x: Tensor, noise: Stream) -> Tensor:
        """The state at the first timestep for pictures x (B, C, H, W), in the denoiser's units: they
        themselves."""
        return x

    def controls(self, prior: Prior, x: Tensor, noise: Stream) -> Sequence[Control]:
        """What reaches into the steps of the given pictures x (B, C, H, W)."""
        return []

    def timesteps(self, prior: Prior) -> list[int]:
        """The plan for a prior, where more than its T decides."""
        return self.plan(prior.process.T)

    def denoiser(self, prior: Prior) -> Denoises:
        """The prior in the units that the steps are taken in."""
        return prior.denoiser

    def check(self, prior: Prior, x: Tensor) -> None:
        """Raise UserError unless pictures x (B, C, H, W) fit the prior, or are resized to it."""
        prior.check(x[:1, :, :1, :1].expand(-1, -1, *prior.shape[1:]) if self.resizes else x)

    @property
    def resizes(self) -> bool:
        """Whether pictures are brought to the prior's size and back."""
        return getattr(self, "resize", False)

    def purify(self, prior: Prior, x: Tensor, noise: Stream) -> Tensor:
        """One pass over x (B, C, H, W) in [-1, 1]; differentiable where gradients are enabled."""
        model, plan = Recomputed(self.denoiser(prior)), self.timesteps(prior)
        given = sized(x, prior.shape) if self.resizes else x
        sampler, controls = self.sampler(prior), self.controls(prior, given, noise)
        state = self.start(prior, given, noise)
        steps = reverse(model, state, plan, sampler, controls, noise, torch.is_grad_enabled())
        return sized(self.shown(last(steps)), x.shape)

    def apply(self, prior: Prior, image: Images, **how: Unpack[RunOptions]) -> Images:
        """Purify pictures. image: (B, C, H, W) in [-1, 1], attacked or not.

        Returns the same shape, about [-1, 1]. Raises UserError when the pictures do not fit the prior.
        """
        self.check(prior, image)

        def begin(batch: Batch) -> Start:
            x = sized(batch.take(image), prior.shape) if self.resizes else batch.take(image)
            return Start(self.start(prior, x, batch.noise), self.controls(prior, x, batch.noise))

        found = sample(
            self.denoiser(prior), self.timesteps(prior), len(image), begin, Run(**how),
            sampler=self.sampler(prior), law=prior.noise, label="pictures",
        )  # fmt: skip
        return sized(self.shown(found), image.shape)

    def shown(self, x: Tensor) -> Tensor:
        """What the last state is as a picture, about [-1, 1]."""
        return x.clamp(-1, 1) if self.clamps else x

    def evaluate(self, purified: Images, truth: Images) -> dict[str, float]:
        """How near purified pictures are to the clean ones. Robustness is measured by `attacks.suite`.

        mse: mean squared error, range [-1, 1]. psnr: in dB.
        """
        need(purified.shape == truth.shape, "give one true picture of the same size for each purified one")
        return {
            "mse": float((purified - truth).square().mean()),
            "psnr": float(psnr(purified, truth).mean()),
        }


def sized(x: Tensor, like: Sequence[int]) -> Tensor:
    """Pictures (B, C, H, W) at the height and width that end a shape, bilinearly, where they have others."""
    size = tuple(like[-2:])
    return x if x.shape[-2:] == size or not len(x) else F.interpolate(x, size, mode="bilinear")


class Purified(nn.Module):
    """A classifier behind a purifier: logits = classifier((purify(2 image - 1) + 1) / 2).

    classifier: any module from pictures (B, C, H, W) in [0, 1] to logits (B, K). It is called in evaluation
        mode and left in the mode that it is in.
    noise: `fresh`, new at each call, as a deployed defence would, a function of (seed, call, first + row);
        or `fixed`, the same noise for row i at every call, which shows what the defence owes to chance.
    paths: purifications of a picture, each with its own noise; `average` says what of their answers is
        averaged: the logits, or the probabilities, whose logarithms are then the logits.

    Gradients are exact. Raises UserError for pictures of another size than the prior's, unless the purifier
    resizes them, or outside [0, 1].
    """

    def __init__(
        self,
        classifier: nn.Module,
        prior: Prior,
        purifier: Purifies,
        noise: Literal["fresh", "fixed"] = "fresh",
        *,
        paths: int = 1,
        average: Literal["logits", "probabilities"] = "logits",
        seed: int = 0,
        first: int = 0,
    ) -> None:
        super().__init__()
        need(paths >= 1, f"paths is {paths}: give 1 or more")
        need(
            average in ("logits", "probabilities"), f"average is {average!r}: choose logits or probabilities"
        )
        self.classifier = InEvaluation(classifier)
        self.network = prior.network  # registered, so that the module moves as one
        self.prior, self.purifier, self.noise = prior, purifier, noise
        self.paths, self.average = paths, average
        self.seed, self.first = seed, first
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        call = 0 if self.noise == "fixed" else self.calls
        self.calls += 1
        rows = range(self.first, self.first + len(images))
        return self.seeded(images, [derive(self.seed, call, i) for i in rows])

    def seeded(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Logits where every draw for image i is a function of seeds[i] alone."""
        if self.paths == 1:
            return self.classifier(self.purified(images, seeds))
        own = [[derive(seed, k) for seed in seeds] for k in range(self.paths)]
        logits = torch.stack([self.classifier(self.purified(images, path)) for path in own])
        if self.average == "logits":
            return logits.mean(0)
        return logits.log_softmax(-1).logsumexp(0) - math.log(self.paths)

    def purified(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """The pictures that the classifier is shown on one path, (B, C, H, W) about [0, 1]."""
        self.purifier.check(self.prior, images)
        outside = images.numel() > 0 and not bool(((images >= -1e-4) & (images <= 1 + 1e-4)).all())
        if outside:
            low, high = (digits(float(value)) for value in images.detach().aminmax())
            raise UserError(
                f"pictures for a classifier lie in [0, 1], not from {low} to {high}: rescale them"
            )
        stream = self.prior.noise.stream(seeds)
        return (self.purifier.purify(self.prior, images * 2 - 1, stream) + 1) / 2


class InEvaluation(nn.Module):
    """A module that is called in evaluation mode, whichever mode it is in, and left as it was."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        with evaluating(self.module):
            return self.module(images)


class OnUnitRange(nn.Module):
    """A classifier of pictures in [-1, 1] as one of pictures in [0, 1]."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(images * 2 - 1)
