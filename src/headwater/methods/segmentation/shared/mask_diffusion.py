"""A diffusion over masks that is conditioned on the image: the trained model, its training, how masks are
drawn and merged. SegDiff and implicit ensembles differ in the network, the variance and the scale of masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Generic, TypeVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.controls import Clip
from headwater.core import Denoiser, Diffusion, Sampler
from headwater.core.prediction import Target
from headwater.core.schedule import linear
from headwater.data.label_maps import note_gaps
from headwater.errors import need
from headwater.methods.base import Images, Labels, Map, Method
from headwater.metrics.mask_agreement import agreement
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.image_conditioned import ConcatenatedUNet, ImageConditioned, SummedUNet
from headwater.nets.infer import unet_fields
from headwater.nets.rrdb import RRDBConfig, infer_encoder
from headwater.nets.tiles import Place, places
from headwater.noise import Purpose, White, derive
from headwater.sampling import Batch, Run, RunOptions, Start, sample, timesteps_of
from headwater.sampling.run import Key
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import uniform

LEAST_T = 21
"""The linear schedule, scaled to T, has betas above 1 below this."""
_MOST_CLASSES = 255
_SQUARE, _OBLONG = (0, 4, 2, 6, 1, 5, 3, 7), (0, 4, 2, 6)
"""Turns and flips that leave the sides of a square image, or of any, as long as they are: see `turned`."""


@dataclass(frozen=True)
class MasksConfig:
    """Sizes, classes and process. Masks are one channel for two classes, else one channel per class."""

    network: UNetConfig
    encoder: RRDBConfig | None
    """Encoder of the image where its features are added to the mask's; None: its channels are read."""
    shape: tuple[int, int, int]
    """(C, H, W) of the images."""
    classes: int
    T: int
    background: float
    """The diffused value where a mask is 0; it is 1 where it is 1."""
    predicts: Target = "eps"
    """What the network predicts, see `Denoiser`."""
    rescaled: bool = True
    """Whether the network is given 1000 (t - 1) / T in place of t - 1; a file that does not say was trained
    so."""

    def __post_init__(self) -> None:
        need(2 <= self.classes <= _MOST_CLASSES, f"classes is {self.classes}: give 2 to {_MOST_CLASSES}")
        need(LEAST_T <= self.T <= MOST_STEPS, f"T is {self.T}: give {LEAST_T} to {MOST_STEPS}")
        need(self.background < 1, f"background is {self.background}: give less than the mask's own 1")
        reads = channels_of(self.classes) + (self.shape[0] if self.encoder is None else 0)
        need(self.network.in_channels == reads, f"the network reads other channels than {reads}")


@dataclass(frozen=True, eq=False)
class FittedMasks(Pretrained):
    """A network that denoises masks, conditioned on an image."""

    network: ImageConditioned
    config: MasksConfig

    published_sizes: ClassVar[tuple[int, float, int, bool]]
    """Timesteps, value of the background, attention heads, and whether timesteps are rescaled, of the
    authors' training."""

    @classmethod
    def networks(cls, config: MasksConfig) -> Parts:
        unet, encoder = config.network, config.encoder
        return {"network": ConcatenatedUNet(unet) if encoder is None else SummedUNet(unet, encoder)}

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """The flags of the authors' scripts, `image_size`, `num_heads`, `diffusion_steps` and
        `rescale_timesteps`, are settings.

        tomeramit/SegDiff adds the features of an RRDB, JuliaWolleb/Diffusion-based-Segmentation reads the
        image's channels before the mask's one.
        """
        T, background, heads, rescaled = cls.published_sizes
        apart = {k.removeprefix("rrdb."): v for k, v in shapes.items() if k.startswith("rrdb.")}
        encoder = infer_encoder(apart) if apart else None
        heads = settings.get("num_heads", heads)
        network = UNetConfig(**unet_fields(shapes, num_heads=heads, use_new_attention_order=False))
        side, T = int(settings["image_size"]), int(settings.get("diffusion_steps", T))
        channels = encoder.in_channels if encoder else network.in_channels - 1
        rescaled = bool(settings.get("rescale_timesteps", rescaled))
        config = MasksConfig(network, encoder, (channels, side, side), 2, T, background, rescaled=rescaled)
        return Layout(config, prefixed)

    @cached_property
    def denoiser(self) -> Denoiser:
        """Linear betas scaled to T; the network is given t - 1, or 1000 (t - 1) / T where the config says."""
        T, masks = self.config.T, channels_of(self.config.classes)
        scale = 1000 / T if self.config.rescaled else 1.0
        process = Diffusion.vp(linear(T), torch.arange(T, dtype=torch.float64) * scale)
        learned = self.config.network.out_channels == 2 * masks
        return Denoiser(self.network, process, self.config.predicts, "learned_range" if learned else "fixed")

    def encode(self, labels: Tensor) -> Tensor:
        """Label maps int64 (B, H, W), or masks (B, K, H, W) in [0, 1], to float32 (B, K, H, W)."""
        if labels.is_floating_point():
            masks = labels.float()
        elif self.config.classes == 2:
            masks = labels[:, None].float()
        else:
            masks = F.one_hot(labels, self.config.classes).movedim(-1, 1).float()
        return self.config.background + (1 - self.config.background) * masks

    def decode(self, x: Tensor) -> Tensor:
        """Back to masks in the scale of 0 to 1, not clamped."""
        return (x - self.config.background) / (1 - self.config.background)


AnyFitted = TypeVar("AnyFitted", bound=FittedMasks)


@dataclass(frozen=True)
class MaskEnsemble:
    """Samples of the mask of each image, and what they say together."""

    labels: Labels
    """Consensus: where the mean exceeds a half (two classes), or the class of the largest mean."""
    mean: Map
    """Mean of the samples: of the mask (two classes), or of the class that `labels` names."""
    variance: Map
    """Variance of the samples (n - 1), summed over channels; 0 for one sample."""
    masks: Labels
    """Each sample by itself, int64 (B, n, H, W): where it exceeds a half, or the class that is largest."""
    samples: Tensor
    """The samples themselves: float32 (B, n, K, H, W), 0 outside and 1 inside the mask."""


class MaskMethod(Method, ABC, Generic[AnyFitted]):
    """Training and sampling; the hyper-parameters with their values and help stand in each method."""

    makes: type[AnyFitted]
    """What `fit` returns."""
    samples: int
    steps: int
    T: int
    clip: tuple[float, float] | None
    tiled: bool
    views: bool
    network: UNetArchitecture
    mirror: bool
    training: TrainerConfig
    bound_weight: float = 1.0
    """Weight of the variational bound, in bits, where the variance is learned."""

    @abstractmethod
    def sizes(self, shape: tuple[int, int, int], classes: int) -> MasksConfig:
        """The model for images of that shape and masks of so many classes."""

    def fit(self, image: Images, labels: Labels, **how: Unpack[RunOptions]) -> AnyFitted:
        """Train from fresh weights: squared error at uniform timesteps, plus the weighted bound where the
        variance is learned. All draws are functions of the seed.

        image: (N, C, H, W) in [-1, 1]. labels: int64 (N, H, W), 0 for background, or soft masks float
        (N, K, H, W) in [0, 1] (K = 1 for two classes). Several masks of one image: repeat the image.
        Raises UserError when shapes disagree, a pixel has no class, or T is too small.
        """
        run = Run(**how)
        need(self.T >= LEAST_T, f"T is {self.T}: give {LEAST_T} or more, and take fewer `steps` of them")
        classes = count_classes(image, labels, 2 ** (len(self.network.channel_mult) - 1))
        channels, height, width = image.shape[1:]
        config = self.sizes((channels, height, width), classes)
        fitted = self.makes.fresh(config, derive(run.seed, Purpose.MASK_WEIGHTS))
        denoiser, masks = fitted.denoiser, fitted.encode(labels)

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            draws = torch.Generator().manual_seed(derive(run.seed, Purpose.MASK_TIMESTEPS, number))
            t = uniform(len(rows), self.T, draws)
            mirrored = ((torch.rand(len(rows), generator=draws) < 0.5) & self.mirror)[:, None, None, None]
            condition, x0 = (
                torch.where(mirrored, v[rows].flip(-1), v[rows]).to(run.device) for v in (image, masks)
            )
            seeds = [derive(run.seed, Purpose.MASK_NOISE, number, k) for k in range(len(rows))]
            features = network.encode(condition)  # pyright: ignore[reportCallIssue]
            own = replace(denoiser, network=network)
            mse, bits = own.terms(x0, t, White().stream(seeds)(x0), features=features)
            return mse.mean() if bits is None else (mse + self.bound_weight * bits).mean()

        trained = train(fitted.network, loss, len(image), self.training, run, self.learnt())
        return replace(fitted, network=trained)

    def draw(self, image: Images, fitted: FittedMasks, sampler: Sampler, run: Run) -> Tensor:
        """`samples` masks of each image, float32 (B, n, K, H, W) in the scale of 0 to 1, not clamped.

        Sample i of image j is a function of (run.seed, run.first + j, i). Images are encoded once, whatever
        the number of samples and steps, or once for each of their `views`; a network call has at most
        run.batch_size samples. Of an image in tiles each tile is drawn by itself, and samples are averaged
        where tiles overlap. Raises UserError for images of another shape than was fitted on, unless they are
        larger and `tiled`.
        """
        (_, height, width), size = fitted.config.shape, tuple(image.shape[-2:])
        tiles = places(size, size, 0.25)
        pieces = image
        if size != (height, width) and size[0] >= height and size[1] >= width:
            need(
                self.tiled,
                f"the images are {size[0]} x {size[1]}, larger than the {height} x {width} fitted on: resize "
                "them, or set tiled",
            )
            tiles = places(size, (height, width), 0.25)
            pieces = torch.stack([image[..., rows, columns] for rows, columns in tiles], 1).flatten(0, 1)
        fitted.check(pieces)
        every = (_SQUARE if height == width else _OBLONG) if self.views else (0,)
        found: Tensor | None = None
        for place, view in enumerate(every[: max(1, self.samples)]):
            own = range(place, self.samples, len(every))

            def key(item: int, draw: int, own: range = own) -> tuple[int, ...]:
                item, tile = divmod(item, len(tiles))
                return (Purpose.MASK_SAMPLES, run.first + item, own[draw], *([tile] if tile else []))

            drawn = turned(self._drawn(turned(pieces, view), fitted, sampler, run, len(own), key), view, True)
            if found is None:
                found = drawn.new_empty(len(pieces), self.samples, *drawn.shape[2:])
            found[:, list(own)] = drawn
        assert found is not None
        return found if len(tiles) == 1 else _joined(found, tiles, size)

    def _drawn(
        self, image: Tensor, fitted: FittedMasks, sampler: Sampler, run: Run, samples: int, key: Key
    ) -> Tensor:
        """The same of images of the size that was fitted on, as they are given."""
        controls = () if self.clip is None else (Clip(*self.clip),)

        @lru_cache(maxsize=1)
        def features(rows: range) -> Tensor:
            return fitted.network.encode(image[rows.start : rows.stop].to(run.device))

        def begin(batch: Batch) -> Start:
            like = batch.empty(channels_of(fitted.config.classes), *image.shape[-2:])
            condition = {"features": batch.repeat(features(batch.items))}
            return Start(fitted.denoiser.process.start(like, batch.noise), controls, condition)

        drawn = sample(
            fitted.denoiser, timesteps_of(fitted.config.T, self.steps), len(image), begin, run,
            sampler=sampler, draws=samples, label="masks", key=key,
        )  # fmt: skip
        return fitted.decode(drawn).unflatten(0, (len(image), samples))

    def evaluate(self, labels: Labels, truth: Labels) -> dict[str, float]:
        """Agreement of int64 (B, H, W) label maps; see `headwater.metrics.mask_agreement.agreement`."""
        return agreement(labels, truth)


def count_classes(image: Images, labels: Tensor, fold: int) -> int:
    """Classes of the masks to learn, at least 2; all that can be wrong with the data is said here.

    image (N, C, H, W); labels int64 (N, H, W), or soft masks float (N, K, H, W) in [0, 1] with K = 1 for two
    classes. fold: what height and width must be multiples of.
    """
    need(image.ndim == 4 and len(image) > 0, "there is no image to learn from: give some")
    size, soft = tuple(image.shape[-2:]), labels.is_floating_point()
    need(
        labels.ndim == (4 if soft else 3) and len(labels) == len(image) and tuple(labels.shape[-2:]) == size,
        f"masks are {tuple(labels.shape)}, images {tuple(image.shape)}: give one mask of the same size for "
        "each image",
    )
    fits = size[0] % fold == 0 and size[1] % fold == 0
    need(fits, f"images are {size[0]} x {size[1]}: resize them to multiples of {fold} pixels a side")
    if soft:
        inside = bool(((labels >= 0) & (labels <= 1)).all())
        need(inside, "soft masks go beyond 0 to 1: scale them")
        need(labels.shape[1] != 2, "soft masks of two classes are one channel: give the second one only")
        return max(2, labels.shape[1])
    low, high = int(labels.min()), int(labels.max())
    need(low >= 0 and high < 255, "some pixels have no class: this method wants every pixel labelled")
    note_gaps(labels)
    return max(2, high + 1)


def channels_of(classes: int) -> int:
    """Channels of a mask of so many classes."""
    return 1 if classes == 2 else classes


def turned(image: Tensor, view: int, back: bool = False) -> Tensor:
    """Images (..., H, W) after `view` quarter turns, from 4 on of the mirrored image; `back` undoes it."""
    if back:
        found = image.rot90(-view % 4, (-2, -1)) if view % 4 else image
        return found.flip(-1) if view >= 4 else found
    found = image.flip(-1) if view >= 4 else image
    return found.rot90(view % 4, (-2, -1)) if view % 4 else found


def _joined(found: Tensor, tiles: list[Place], size: tuple[int, ...]) -> Tensor:
    """Samples (B * tiles, n, K, h, w), those of an image's tiles together, as (B, n, K, H, W)."""
    by_tile = found.unflatten(0, (-1, len(tiles)))
    total = found.new_zeros(len(by_tile), *found.shape[1:3], *size)
    count = found.new_zeros(*size)
    for tile, (rows, columns) in enumerate(tiles):
        total[..., rows, columns] += by_tile[:, tile]
        count[rows, columns] += 1
    return total / count


def merge(samples: Tensor) -> MaskEnsemble:
    """Consensus, mean and variance of samples (B, n, K, H, W); K is 1 for two classes."""
    mean, variance = samples.mean(1), torch.zeros_like(samples[:, 0, :1])
    if samples.shape[1] > 1:
        variance = samples.var(1).sum(1, keepdim=True)
    if samples.shape[2] == 1:
        masks = (samples[:, :, 0] > 0.5).long()
        return MaskEnsemble((mean[:, 0] > 0.5).long(), mean, variance, masks, samples)
    labels = mean.argmax(1)
    return MaskEnsemble(labels, mean.gather(1, labels[:, None]), variance, samples.argmax(2), samples)
