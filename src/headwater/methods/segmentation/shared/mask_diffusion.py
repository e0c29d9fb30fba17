"""What methods that diffuse a mask while looking at a picture share: draw n samples, merge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from headwater.controls import Clip
from headwater.core import Control, Sampler, last, respaced, reverse
from headwater.errors import need
from headwater.methods.base import Images, Labels, Map
from headwater.methods.segmentation.shared.mask_fitted import FittedMasks
from headwater.noise import White, derive
from headwater.sampling import Run


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
    fits = 1 <= method.steps <= fitted.T
    need(fits, f"the chain has {fitted.T} levels: set steps between 1 and that")
    controls = () if method.clip is None else (Clip(*method.clip),)
    plan = respaced(fitted.T, method.steps)
    return draw_masks(fitted, image, method.samples, plan, sampler, controls, run)


@torch.inference_mode()
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
    the number of samples and steps; a network call has at most run.batch samples.
    """
    need(samples >= 1, f"samples is {samples}: draw at least one")
    fitted.check(image)
    at_once, done = max(1, run.batch // samples), []
    for start in range(0, len(image), at_once):
        part = image[start : start + at_once].to(run.device)
        features = fitted.network.encode(part)
        pairs = [(j, i) for j in range(len(part)) for i in range(samples)]
        for first in range(0, len(pairs), run.batch):
            chunk = pairs[first : first + run.batch]
            rows = torch.tensor([j for j, _ in chunk], device=part.device)
            noise = White().stream([derive(run.seed, _MASKS, run.first + start + j, i) for j, i in chunk])
            like = part.new_empty(len(chunk), fitted.channels, *part.shape[-2:])
            x = fitted.denoiser.process.start(like, noise)
            steps = reverse(fitted.denoiser, x, plan, sampler, controls, noise, features=features[rows])
            what = f"masks of pictures {start + chunk[0][0] + 1}-{start + chunk[-1][0] + 1}"
            done.append(fitted.decode(last(run.watch(steps, len(plan) - 1, what))).cpu())
    return torch.cat(done).unflatten(0, (len(image), samples))


_MASKS = 0x4D41534B
