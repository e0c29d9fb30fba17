"""How good a method's results are for how many network calls, with the network that ships for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.bench.curve import Curve, Point
from headwater.bench.quality import Calls, distance
from headwater.data.gaps import read_quantiles
from headwater.data.series import Array
from headwater.data.shipped import Set, load
from headwater.data.windows import Scale, spaced_windows
from headwater.methods.restoration.sr3.method import SR3, FittedSR3
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.methods.series.csdi.method import CSDI, FittedCSDI
from headwater.methods.synthesis.glide.method import FittedGlide, Glide
from headwater.metrics.dual_encoder import train_dual_encoder
from headwater.metrics.segmentation import dice
from headwater.metrics.series import LEVELS, pinball
from headwater.models import Prior
from headwater.models.likeness import feature_distance
from headwater.noise import derive
from headwater.sampling import Run, SamplerName

SAMPLERS: Mapping[str, Literal["ancestral", "ddim", "dpm-solver"]] = {
    "DDPM": "ancestral",
    "DDIM": "ddim",
    "DPM-Solver++": "dpm-solver",
    "DDPM, sections": "ancestral",
    "DDIM, sections": "ddim",
}
SECTIONS = {10: "5,2,1,1,1", 15: "8,3,2,1,1", 25: "13,5,3,2,2"}
"""Half of the calls in the fifth of the levels that has the least noise, as in GLIDE's own "10,10,3,2,2"."""


@dataclass(frozen=True)
class GlideQuality:
    """Drawings of names of training pictures, once each, at the usual guidance.

    judge: `encoder` is the Frechet distance, in a dual encoder of the training pictures, to these pictures.
    `grain` is the size of the Laplacian in the flatter half of a drawing, which the encoder does not see and
    people do.
    """

    captions: int
    calls: Calls
    judge: Literal["encoder", "grain"]
    steps: int = 600
    """Of the dual encoder's training."""

    def curve(self, run: Run) -> Curve:
        """Draw with every solver from the same start noise; errors are a jackknife, or see `points_of`."""
        names, images = _emoji()
        texts = tuple(names[i] for i in _order(len(names))[: self.captions])
        drawn = {
            (solver, calls): _drawings(texts, solver, calls, run.progress)
            for solver, budgets in self.calls.items()
            for calls in budgets
        }
        if self.judge == "grain":
            real = float(grain(images).mean())
            points = points_of({key: grain(x).double().numpy() for key, x in drawn.items()})
            what = f"size of the Laplacian in the flatter half of {len(texts)} drawings, pictures {real:.3g}"
            return Curve("glide, grain", what, points, None)
        judge = train_dual_encoder(images, names, 0, self.steps, progress=run.progress)

        @torch.no_grad()
        def features(x: Tensor) -> Tensor:
            return torch.cat([judge.image(part) for part in x.split(256)])

        true = features(images)
        found = tuple(Point(*key, *distance(features(x), true)) for key, x in drawn.items())
        what = f"Frechet distance in a dual encoder, {len(texts)} captions against {len(true)} pictures"
        return Curve("glide", what, found, None)


def _emoji() -> tuple[Sequence[str], Tensor]:
    train = cast(Set, load("emoji", "train", FittedGlide.from_pretrained("glide").shape[-1]))
    return cast(Sequence[str], train.names), train.images


def _order(n: int) -> list[int]:
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()


@cache
def _drawings(texts: tuple[str, ...], solver: str, calls: int, progress: bool) -> Tensor:
    """Both judges see the same drawings."""
    steps = SECTIONS[calls] if solver.endswith("sections") else str(calls)
    method = Glide(steps=steps, sampler=SAMPLERS[solver])
    return method.apply(
        list(texts),
        FittedGlide.from_pretrained("glide"),
        seed=0,
        device="cpu",
        batch_size=48,
        progress=progress,
    )


def grain(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B,): the median of the Laplacian's size in each channel, averaged over channels."""
    kernel = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])[None, None]
    size = F.conv2d(x.flatten(0, 1)[:, None], kernel).abs()
    return size.flatten(1).quantile(0.5, 1).view(len(x), -1).mean(1)


@dataclass(frozen=True)
class MaskQuality:
    """1 - Dice of SegDiff's consensus of nine masks on pictures that it was not trained on (`pool`)."""

    pictures: int
    calls: Sequence[int]

    def curve(self, run: Run) -> Curve:
        """Draw from the same noise; see `points_of`."""
        fitted = FittedSegDiff.from_pretrained("segdiff-skin-0")
        pool = cast(Set, load("emoji-parts-hue", "pool", fitted.shape[-1]))
        rows = torch.linspace(0, len(pool) - 1, self.pictures).long()
        truth = cast(Tensor, pool.labels)[rows] == pool.classes.index("skin")
        found: dict[tuple[str, int], Array] = {}
        for calls in self.calls:
            method = SegDiff(samples=9, steps=calls, clip=(-1, 1), variance="small")
            masks = method.apply(
                pool.images[rows], fitted, seed=0, device="cpu", batch_size=72, progress=run.progress
            )
            found["DDPM", calls] = 1 - dice(masks.labels > 0, truth).double().numpy()
        what = f"1 - Dice of the consensus of nine masks, {self.pictures} pictures"
        return Curve("segdiff-skin-0", what, points_of(found), None)


@dataclass(frozen=True)
class SeriesQuality:
    """CRPS, in deviations of the training data, of CSDI's fillings of windows of the validation split."""

    windows: int
    draws: int
    calls: Sequence[int]

    def curve(self, run: Run) -> Curve:
        """Half of the known cells are hidden; see `points_of`."""
        fitted = FittedCSDI.from_pretrained("csdi-air-0")
        table = load("air", "val").select(fitted.config.columns)
        truth = spaced_windows(table, fitted.config.length, self.windows)
        hidden = [
            np.random.default_rng(derive(0, i)).random(t.values.shape) < 0.5 for i, t in enumerate(truth)
        ]
        given = [t.filled(np.where(h, np.nan, t.values)) for t, h in zip(truth, hidden, strict=True)]
        std = Scale.of([load("air", "train").select(fitted.config.columns)]).std
        walks: dict[str, SamplerName] = {"DDPM": "ancestral", "DPM-Solver++": "dpm-solver"}
        found: dict[tuple[str, int], Array] = {}
        for calls in self.calls:
            for name, sampler in walks.items():
                method = CSDI(samples=self.draws, sampler=sampler, steps=calls, bound=10.0)
                result = method.apply(
                    given, fitted, seed=0, device="cpu", batch_size=96, progress=run.progress
                )
                pairs = zip(result.quantiles, result.filled, strict=True)
                bands = [read_quantiles(q, f, LEVELS) for q, f in pairs]
                scores = [
                    pinball(b / std, t.values / std, h & np.isfinite(t.values))
                    for b, t, h in zip(bands, truth, hidden, strict=True)
                ]
                found[name, calls] = np.array(scores)
        what = f"CRPS in deviations, {self.windows} windows of which half is hidden, {self.draws} draws"
        return Curve("csdi-air-0", what, points_of(found), None)


ENDS = {5: 0.95, 10: 0.8, 20: 0.5, 50: 0.23, 100: 0.12}
"""Variance of the last step of a chain of so many that ends, as those of the small recipe, with 1/20 of the
data left."""


@dataclass(frozen=True)
class EnlargingQuality:
    """What SR3 makes of held-out emoji of 8 x 8 pixels, along a chain of its own for each number of calls or
    along some timesteps of the trained one.

    judge: `features` is the distance from the truth's, as the shipped prior sees them; `grain` how far the
    size of the Laplacian in the flatter half is from the truth's.
    """

    pictures: int
    calls: Sequence[int]
    judge: Literal["features", "grain"]

    def curve(self, run: Run) -> Curve:
        """Draw from the same start noise; see `points_of`."""
        prior = Prior.from_pretrained("emoji")
        truth = _last_emoji(self.pictures)
        found: dict[tuple[str, int], Array] = {}
        for solver, calls in ((s, c) for s in ("DDPM, own chain", "DDPM") for c in self.calls):
            image = _enlarged(self.pictures, solver, calls, run.progress)
            if self.judge == "features":
                found[solver, calls] = feature_distance(prior, image, truth).double().numpy()
            else:
                found[solver, calls] = (grain(image) - grain(truth)).abs().double().numpy()
        measure = {"features": "distance of the prior's features", "grain": "difference of the grain"}
        what = f"{measure[self.judge]} from the truth's, {self.pictures} pictures enlarged four times"
        name = "sr3-emoji" if self.judge == "features" else "sr3-emoji, grain"
        return Curve(name, what, points_of(found), None)


def _last_emoji(n: int) -> Tensor:
    """n held-out ones; the claim tests the first of this order."""
    images = load("emoji", "test", 32).images
    return images[_order(len(images))[-n:]]


@cache
def _enlarged(n: int, solver: str, calls: int, progress: bool) -> Tensor:
    """Both judges see the same pictures."""
    start = 1e-4 if solver.endswith("own chain") else None
    method = SR3(factor=4, steps=calls, start=start, end=ENDS[calls])
    fitted = FittedSR3.from_pretrained("sr3-emoji")
    small = method.small(_last_emoji(n))
    return method.apply(small, fitted, seed=0, device="cpu", batch_size=64, progress=progress)


def points_of(found: Mapping[tuple[str, int], Array]) -> tuple[Point, ...]:
    """Points from one number an item: the mean, and its standard error between walks.

    All walks see the same items, so what makes an item hard for all of them is taken out of the error
    (Cousineau 2005, with Morey's correction of 2008 for the walk's own share in the common mean).
    """
    common, walks = np.stack(list(found.values())).mean(0), len(found)
    items = len(common)
    own = (walks / (walks - 1) / items) ** 0.5
    return tuple(
        Point(solver, calls, float(of.mean()), float((of - common).std(ddof=1) * own))
        for (solver, calls), of in found.items()
    )
