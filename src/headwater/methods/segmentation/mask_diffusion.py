"""What methods that diffuse a mask while looking at a picture share: learn, draw n samples, merge them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from headwater.core import Control, Sampler, White, last, reverse
from headwater.core.noise import derive
from headwater.errors import need
from headwater.methods.base import Images, Labels, Map
from headwater.methods.segmentation.mask_fitted import FittedMasks
from headwater.run import Run
from headwater.train.optimisation import Optimisation, batch_rows, train

AnyFitted = TypeVar("AnyFitted", bound=FittedMasks)


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


def count_classes(image: Images, labels: Tensor, fold: int) -> int:
    """Classes of the masks to learn, at least 2; all that can be wrong with the data is said here.

    image (N, C, H, W); labels int64 (N, H, W), or soft masks float (N, K, H, W) in [0, 1] with K = 1 for two
    classes. fold: what height and width must be multiples of.
    """
    need(image.ndim == 4 and len(image) > 0, "there is no picture to learn from: give some")
    size = tuple(image.shape[-2:])
    soft = labels.is_floating_point()
    need(
        labels.ndim == (4 if soft else 3) and len(labels) == len(image) and tuple(labels.shape[-2:]) == size,
        f"masks are {tuple(labels.shape)}, pictures {tuple(image.shape)}: give one mask of the same size for "
        "each picture",
    )
    fits = size[0] % fold == 0 and size[1] % fold == 0
    need(fits, f"pictures are {size[0]} x {size[1]}: resize them to multiples of {fold} pixels a side")
    if soft:
        inside = bool(((labels >= 0) & (labels <= 1)).all())
        need(inside, "soft masks go beyond 0 to 1: scale them")
        need(labels.shape[1] != 2, "soft masks of two classes are one channel: give the second one only")
        return max(2, labels.shape[1])
    low, high = int(labels.min()), int(labels.max())
    need(low >= 0 and high < 255, "some pixels have no class: this method wants every pixel labelled")
    return max(2, high + 1)


@contextmanager
def fresh_weights(seed: int) -> Iterator[None]:
    """Networks built inside have weights that depend on the seed alone; torch's generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, _WEIGHTS))
        yield


def train_masks(
    fitted: AnyFitted,
    image: Images,
    labels: Tensor,
    how: Optimisation,
    run: Run,
    *,
    mirror: bool,
    bound: float = 1.0,
    about: dict[str, Any],
) -> AnyFitted:
    """Train fitted.network on the masks: squared error of the noise at uniform levels, plus `bound` times
    the variational bound in bits where the variance is learned.

    mirror: mirror half of the pictures with their masks, left to right. about: the method's settings.
    """
    denoiser = fitted.denoiser
    masks = fitted.encode(labels)

    def loss(network: nn.Module, step: int) -> Tensor:
        rows = batch_rows(run.seed, len(image), how.batch, step)
        draws = torch.Generator().manual_seed(derive(run.seed, _LEVELS, step))
        t = torch.randint(1, fitted.T + 1, (how.batch,), generator=draws)
        turn = (torch.rand(how.batch, generator=draws) < 0.5) & mirror
        seen, x0 = (
            torch.where(turn[:, None, None, None], v[rows].flip(-1), v[rows]).to(run.device)
            for v in (image, masks)
        )
        eps = White().stream([derive(run.seed, _NOISE, step, k) for k in range(how.batch)])(x0)
        told = replace(denoiser, network=network)
        features = network.encode(seen)  # pyright: ignore[reportCallIssue]
        mse, bits = told.terms(x0, t, eps, features=features)
        return mse.mean() if bits is None else (mse + bound * bits).mean()

    return replace(fitted, network=train(fitted.network, loss, how, run, about))


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


_LEVELS, _NOISE, _MASKS, _WEIGHTS = 0x4D4C564C, 0x4D4E4F49, 0x4D41534B, 0x4D574754
