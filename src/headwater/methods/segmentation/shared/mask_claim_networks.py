"""The networks that the claims of SegDiff and implicit ensembles compare: one U-Net, one time of training.

Time is counted in updates of the plain U-Net. `COSTS` says what an update of each arm takes in that unit,
measured beforehand on one CPU core, so that the number of updates does not depend on the machine of the day;
`RATES` were chosen on the split `pool`, which no arm is trained or judged on. Both are found anew by
tools/train_segdiff.py, with --costs and --rates.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import torch
from torch import Tensor

from headwater.baselines.supervised import FittedUNet, SupervisedUNet, course
from headwater.data import Set, load
from headwater.gallery import names
from headwater.methods.segmentation.implicit_ensembles.method import (
    FittedImplicitEnsembles,
    ImplicitEnsembles,
)
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.models import PriorConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.sampling import Run
from headwater.training import TrainerConfig

DATA, SIDE = "emoji-parts-hue", 24
SKIN = "skin"
SUM, CONCATENATED, IMPLICIT, PLAIN = (
    "SegDiff",
    "SegDiff, picture concatenated",
    "implicit ensemble",
    "plain U-Net",
)
COSTS = {SUM: 1.56, CONCATENATED: 1.02, IMPLICIT: 1.06, PLAIN: 1.0}
"""Time of one update, in those of the plain U-Net."""
RATES = {SUM: 4e-3, CONCATENATED: 5e-4, IMPLICIT: 1e-3, PLAIN: 4e-3}
"""Peak learning rates."""
UPDATES = 4400
"""Of the plain U-Net: full effort, and what ships."""
SHIPPED = {SUM: "segdiff-skin-{seed}", PLAIN: "segdiff-skin-{seed}-plain"}
"""Names of networks that tools/train_segdiff.py trained for so long."""

Learner = SegDiff | ImplicitEnsembles | SupervisedUNet
Fitted = FittedSegDiff | FittedImplicitEnsembles | FittedUNet

_UNET = UNetArchitecture(32, (1, 1, 1), use_scale_shift_norm=False)
_SEGDIFF = SegDiff(
    steps=10, clip=(-1, 1), variance="small", predicts="v",
    encoder_blocks=1, encoder_width=16, encoder_growth=8,
    network=_UNET,
)  # fmt: skip
"""Ten steps with the posterior's variance, v for the noise, masks kept in range: what minutes of training
allow. With the noise three in ten masks of `pool` were white all over, in 10 steps as in 100."""
_IMPLICIT = ImplicitEnsembles(
    samples=9, steps=25, clip=(0, 1), predicts="v", mirror=True,
    network=_UNET,
)  # fmt: skip
"""Clean estimates kept in the range of its masks: on `pool` the reference's wider one draws hardly a mask."""
_ARMS: dict[str, Learner] = {
    SUM: _SEGDIFF,
    CONCATENATED: replace(_SEGDIFF, condition="concatenate"),
    IMPLICIT: _IMPLICIT,
    # Its pictures are mirrored like the others' and changed in no other way.
    PLAIN: SupervisedUNet(shift=0, hue=False),
}


def arm(name: str, updates: int, rate: float | None = None) -> Learner:
    """An arm that trains as long as the plain U-Net does for so many updates."""
    made, steps = _ARMS[name], max(1, round(updates / COSTS[name]))
    return replace(made, training=_course(name, steps, rate or RATES[name]))


def _course(name: str, steps: int, rate: float) -> TrainerConfig:
    how = course(steps, rate)
    return how if name == PLAIN else replace(how, weight_decay=0.0, grad_clip=0.0, ema=0.99)


def pictures(split: str, side: int = SIDE) -> tuple[Set, Tensor]:
    """A split with its masks: int64 (N, H, W), 1 where the picture shows skin."""
    found = load(DATA, split, side)
    if found.labels is None:
        raise ValueError(f"{found.name} has no label maps: choose another set")
    return found, (found.labels == found.classes.index(SKIN)).long()


def fit(learner: Learner, learn: Tensor, masks: Tensor, run: Run) -> Fitted:
    """Train an arm from fresh weights."""
    if isinstance(learner, SupervisedUNet):
        return learner.fit(_architecture(learn), learn, masks, **run)
    return learner.fit(learn, masks, **run)


def shipped(name: str, seed: int, updates: int) -> Fitted | None:
    """The network of an arm and a seed that was trained for so long, if it ships."""
    called = SHIPPED.get(name, "").format(seed=seed)
    if updates != UPDATES or called not in names("fitted"):
        return None
    kind = FittedUNet if name == PLAIN else FittedSegDiff
    return kind.from_pretrained(called)


def masks_of(learner: Learner, fitted: Fitted, image: Tensor, count: int, run: Run) -> Tensor:
    """Masks of pictures (B, C, H, W): float32 (B, count, 1, H, W); the plain U-Net has one only."""
    match learner, fitted:
        case SegDiff(), FittedSegDiff():
            return replace(learner, samples=count).apply(image, fitted, **run).samples
        case ImplicitEnsembles(), FittedImplicitEnsembles():
            return replace(learner, samples=count).apply(image, fitted, **run).samples
        case SupervisedUNet(), FittedUNet():
            return fitted.predict(image, **run)[:, None, None].float()
        case _:
            raise TypeError(f"{type(learner).__name__} has not trained a {type(fitted).__name__}")


def parameters(fitted: Fitted) -> int:
    """How many numbers a network has."""
    return sum(p.numel() for p in fitted.network.parameters())


def _architecture(learn: Tensor) -> PriorConfig:
    """The U-Net of the methods, from a picture to two classes."""
    channels, height, width = learn.shape[1:]
    network = {"in_channels": channels, "out_channels": 2, **asdict(_SEGDIFF.network)}
    return PriorConfig(network, (channels, height, width))


def places(n: int, count: int) -> Tensor:
    """`count` even places among n pictures, int64."""
    return torch.linspace(0, n - 1, count).long()
