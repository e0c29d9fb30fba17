"""What one step of training sees. Every row is a pure function of (seed, step, index in the batch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from headwater.core.process import Diffusion
from headwater.data import augment
from headwater.data.datasets import Skipped
from headwater.noise import Noise, derive
from headwater.training.order import order
from headwater.training.recipe import Recipe

# Purposes separate the uses of one seed; their numbers are part of what makes a run repeatable.
_LEVEL, _NOISE, _FLIP, _HUE, _AUGMENT, _LABEL, _DROPOUT = range(2, 9)


class Rows(Protocol):
    """A tensor (N, C, H, W), or what is indexed like one: an index (M,) gives (M, C, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Pictures:
    """What there is to learn from: images (N, C, H, W) in [-1, 1] and, for conditional priors, classes."""

    images: Rows
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    licence: str = ""
    skipped: tuple[Skipped, ...] = ()
    """Files that could not be read."""


@dataclass(frozen=True)
class Batch:
    """Rows of the global batch: clean pictures, levels, noise, what the network is told, dropout keys."""

    x0: Tensor
    t: Tensor
    eps: Tensor
    cond: dict[str, Tensor]
    keys: Tensor


@dataclass(frozen=True)
class Feed:
    """Batches of a recipe. Shuffled epochs without replacement follow each other without a gap."""

    recipe: Recipe
    pictures: Pictures
    process: Diffusion
    law: Noise

    def batch(self, step: int, rows: range) -> Batch:
        """Rows of the global batch of a step (0-based), on the CPU."""
        r = self.recipe
        index = torch.tensor([self.picture(step * r.batch + j) for j in rows])
        x0 = self._augment(self.pictures.images[index], step, rows)
        t = torch.tensor([self._level(step, j) for j in rows])
        noise = self.law.stream([derive(r.seed, _NOISE, step, j) for j in rows])
        eps = noise(x0, t)
        keys = torch.tensor([derive(r.seed, _DROPOUT, step, j) for j in rows])
        return Batch(x0, t, eps, self._cond(index, step, rows), keys)

    def picture(self, position: int) -> int:
        """The picture at a position of the endless shuffled sequence."""
        epoch, place = divmod(position, len(self.pictures.images))
        return order(self.recipe.seed, epoch, len(self.pictures.images))[place]

    def _level(self, step: int, j: int) -> int:
        r, T = self.recipe, self.process.T
        if r.levels == "uniform":
            return 1 + derive(r.seed, _LEVEL, step, j) % T
        # One offset per step, then even spacing: each t is still uniform by itself.
        u = (derive(r.seed, _LEVEL, step) / 2**63 + j / r.batch) % 1.0
        return 1 + min(int(u * T), T - 1)

    def _augment(self, x0: Tensor, step: int, rows: range) -> Tensor:
        r = self.recipe
        if "brain" in r.augment:
            generator = torch.Generator()
            changed = []
            for image, j in zip(x0, rows, strict=True):
                generator.manual_seed(derive(r.seed, _AUGMENT, step, j))
                changed.append(augment.brain(image, generator))
            x0 = torch.stack(changed)
        if "hue" in r.augment:
            angles = [derive(r.seed, _HUE, step, j) / 2**63 * 360 for j in rows]
            x0 = augment.rotate_hue(x0, torch.tensor(angles))
        if "flip" in r.augment:
            flip = torch.tensor([derive(r.seed, _FLIP, step, j) % 2 == 1 for j in rows])
            x0 = torch.where(flip[:, None, None, None], x0.flip(-1), x0)
        return x0

    def _cond(self, index: Tensor, step: int, rows: range) -> dict[str, Tensor]:
        r, labels = self.recipe, self.pictures.labels
        if not r.class_conditional or labels is None:
            return {}
        hidden = [derive(r.seed, _LABEL, step, j) / 2**63 < r.label_dropout for j in rows]
        return {"y": torch.where(torch.tensor(hidden), len(self.pictures.classes), labels[index])}
