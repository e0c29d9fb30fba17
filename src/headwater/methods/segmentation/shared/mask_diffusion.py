"""What methods that diffuse a mask while looking at a picture share: draw n samples, merge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from headwater.controls import Clip
from headwater.core import Control, Sampler
from headwater.methods.base import Images, Labels, Map
from headwater.methods.segmentation.shared.mask_fitted import FittedMasks
from headwater.sampling import Batch, Run, Start, sample, timesteps_of


@dataclass(frozen=True)
class MaskEnsemble:
    """Samples of the mask of each picture, and what they say together."""

    labels: Labels
    """Consensus: where the mean exceeds a half (two classes), or the class of the largest mean."""
    mean: Map
    """Mean of the samples: of the mask (two classes), or of the class that `labels` names."""
    variance: Map
    """Variance of the samples (n - 1), summed over channels; 0 for one sample."""
    samples: Tensor
    """The samples themselves: float32 (B, n, K, H, W), 0 outside and 1 inside the mask."""


def merge(samples: Tensor) -> MaskEnsemble:
    """Consensus, mean and variance of samples (B, n, K, H, W); K is 1 for two classes."""
    mean, variance = samples.mean(1), torch.zeros_like(samples[:, 0, :1])
    if samples.shape[1] > 1:
        variance = samples.var(1).sum(1, keepdim=True)
    if samples.shape[2] == 1:
        return MaskEnsemble((mean[:, 0] > 0.5).long(), mean, variance, samples)
    labels = mean.argmax(1)
    return MaskEnsemble(labels, mean.gather(1, labels[:, None]), variance, samples)


class Draws(Protocol):
    """The settings of a method that say how masks are drawn."""

    @property
    def samples(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def clip(self) -> tuple[float, float] | None: ...


def draw(method: Draws, fitted: FittedMasks, image: Images, sampler: Sampler, run: Run) -> Tensor:
    """As many masks of each picture in as many steps as the method says; see `draw_masks`."""
    controls = () if method.clip is None else (Clip(*method.clip),)
    plan = timesteps_of(fitted.config.T, method.steps)
    return draw_masks(fitted, image, method.samples, plan, sampler, controls, run)


def draw_masks(
    fitted: FittedMasks,
    image: Images,
    samples: int,
    plan: Sequence[int],
    sampler: Sampler,
    controls: Sequence[Control],
    run: Run,
) -> Tensor:
    """`samples` masks of each picture, float32 (B, n, K, H, W) in the scale of 0 to 1, not clamped.

    Sample i of picture j is a function of (run.seed, run.first + j, i). Pictures are encoded once, whatever
    the number of samples and steps; a network call has at most run.batch_size samples.
    """
    fitted.check(image)

    @lru_cache(maxsize=1)
    def features(pictures: range) -> Tensor:
        return fitted.network.encode(image[pictures.start : pictures.stop].to(run.device))

    def begin(batch: Batch) -> Start:
        like = batch.empty(fitted.channels, *image.shape[-2:])
        seen = batch.repeat(features(batch.items))
        return Start(fitted.denoiser.process.start(like, batch.noise), controls, {"features": seen})

    drawn = sample(
        fitted.denoiser, plan, len(image), begin, run, sampler=sampler, draws=samples,
        key=lambda picture, draw: (_MASKS, run.first + picture, draw), label="masks",
    )  # fmt: skip
    return fitted.decode(drawn).unflatten(0, (len(image), samples))


_MASKS = 0x4D41534B
