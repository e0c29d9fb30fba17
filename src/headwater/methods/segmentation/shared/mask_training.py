"""What methods that diffuse a mask while looking at a picture share: the U-Net, and how it learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from headwater.core.prediction import Target
from headwater.errors import need
from headwater.methods.base import Images
from headwater.methods.segmentation.shared.mask_fitted import LEAST_T, FittedMasks
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.image_conditioned import ImageConditioned
from headwater.noise import White, derive
from headwater.sampling import Run
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import uniform

AnyFitted = TypeVar("AnyFitted", bound=FittedMasks)


class Learns(Protocol):
    """A method, a dataclass, as far as its network and its training go."""

    applied: ClassVar[tuple[str, ...]]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def T(self) -> int: ...
    @property
    def network(self) -> UNetArchitecture: ...
    @property
    def mirror(self) -> bool: ...
    @property
    def training(self) -> TrainerConfig: ...

    def fresh_network(self, channels: int, classes: int, seed: int) -> ImageConditioned: ...


@contextmanager
def fresh_weights(seed: int) -> Iterator[None]:
    """Networks built inside have weights that depend on the seed alone; torch's generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, _WEIGHTS))
        yield


def fit_masks(
    kind: type[AnyFitted],
    method: Learns,
    image: Images,
    labels: Tensor,
    run: Run,
    *,
    background: float,
    predicts: Target = "eps",
    bound: float = 1.0,
) -> AnyFitted:
    """Train the method's network from fresh weights: squared error at uniform levels, plus
    `bound` times the variational bound in bits where the variance is learned.

    image (N, C, H, W); labels as `count_classes` takes them. background: see `MasksConfig`.
    Raises UserError when shapes disagree, a pixel has no class, or the chain is too short.
    """
    need(method.T >= LEAST_T, f"T is {method.T}: give {LEAST_T} or more, and take fewer `steps` of them")
    classes = count_classes(image, labels, 2 ** (len(method.network.channel_mult) - 1))
    channels, height, width = image.shape[1:]
    network = method.fresh_network(channels, classes, run.seed)
    fitted = kind.around(network, (channels, height, width), classes, method.T, background, predicts)
    denoiser, masks = fitted.denoiser, fitted.encode(labels)

    def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
        draws = torch.Generator().manual_seed(derive(run.seed, _TIMESTEPS, number))
        t = uniform(len(rows), method.T, draws)
        turn = (torch.rand(len(rows), generator=draws) < 0.5) & method.mirror
        seen, x0 = (
            torch.where(turn[:, None, None, None], v[rows].flip(-1), v[rows]).to(run.device)
            for v in (image, masks)
        )
        eps = White().stream([derive(run.seed, _NOISE, number, k) for k in range(len(rows))])(x0)
        told = replace(denoiser, network=network)
        features = network.encode(seen)  # pyright: ignore[reportCallIssue]
        mse, bits = told.terms(x0, t, eps, features=features)
        return mse.mean() if bits is None else (mse + bound * bits).mean()

    settings = {k: v for k, v in asdict(method).items() if k not in {*method.applied, "training"}}
    return replace(fitted, network=train(fitted.network, loss, len(image), method.training, run, settings))


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


_TIMESTEPS, _NOISE, _WEIGHTS = 0x4D4C564C, 0x4D4E4F49, 0x4D574754
