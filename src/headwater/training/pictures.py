"""The pictures that a recipe names: a shipped set, a folder, an array file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from headwater.data import shipped
from headwater.data.datasets import CACHE_BYTES, Dataset, Skipped, open_dataset
from headwater.data.kspace import open_kspace
from headwater.digest import digest
from headwater.errors import UserError, need
from headwater.nets.wrappers import real_channels
from headwater.operators import Fourier
from headwater.progress import track
from headwater.training.recipe import Recipe


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

    @property
    def content(self) -> str:
        """A hash of the pictures, so that a training does not go on with others; where they are too many for
        memory, of their names."""
        found = self.images
        return digest(
            [found.dataset.name(i) for i in range(len(found))] if isinstance(found, Lazy) else found
        )


def gather(recipe: Recipe, on_error: Literal["stop", "skip"] = "stop", progress: bool = False) -> Pictures:
    """Open the data of a recipe; what fits into memory is read now, so that a bad file shows now.

    Raises UserError for unknown data, a picture that cannot be read (unless `on_error` is skip), or a
    shape that the data cannot have.
    """
    if recipe.shape[0] == 4:
        need(recipe.window is None, "k-space has no black and white: leave the window out")
        return _slice_pairs(recipe)
    name, _, split = recipe.data.partition(":")
    if name.removesuffix("-hue") in shipped.names():
        return _shipped(name, split or recipe.split, recipe)
    need(not recipe.augmented, f"augmented is for brain and photos, not for {recipe.data}: leave it out")
    labels = "auto" if recipe.class_conditional else "none"
    how: Any = {"on_error": on_error, "window": recipe.window, "bands": recipe.bands, "slices": recipe.slices}
    found = open_dataset(recipe.data, recipe.shape, labels=labels, **how)
    if recipe.class_conditional and not found.classes:
        found = open_dataset(recipe.data, recipe.shape, labels="folders", **how)
    return _gathered(found, progress)


def _shipped(name: str, split: str, recipe: Recipe) -> Pictures:
    channels, height, width = recipe.shape
    need(height == width, f"shipped sets are square: give shape [{channels}, {height}, {height}]")
    try:
        found = shipped.load(name, split, height, augmented=recipe.augmented, seed=recipe.seed)
    except ValueError as error:
        raise UserError(str(error)) from None
    has = found.images.shape[1]
    need(has == channels, f"{name} has {has} channels: give shape [{has}, {height}, {width}]")
    licence = str(shipped.manifest()[name.removesuffix("-hue")]["licence"])
    if found.labels is None or found.labels.ndim != 1:
        return Pictures(found.images, licence=licence)
    return Pictures(found.images, found.labels, tuple(found.classes), licence)


def _slice_pairs(recipe: Recipe) -> Pictures:
    """Every two neighbouring slices of fully measured volumes of k-space, as real and imaginary part of each.

    A pair is divided by its largest value (DiffuseRecon). Pairs of empty slices are left out.
    """
    size, slices = recipe.shape[1:], open_kspace(recipe.data)
    volumes: dict[Path, list[Tensor]] = {}
    for row, (path, place) in enumerate(slices.places):
        k = slices[row]
        plain = k.ndim == (3 if place is None else 2) and tuple(k.shape[-2:]) == size
        need(
            plain,
            f"{path} holds k-space {tuple(k.shape)}: for pairs of slices give volumes (slices, {size[0]}, "
            f"{size[1]}) of one coil, or of coils that were combined",
        )
        volumes.setdefault(path, []).append(k.reshape(-1, *size))
    found = list[Tensor]()
    for volume in volumes.values():
        images = Fourier("centred").pseudo_inverse(torch.cat(volume))
        pairs = real_channels(torch.stack([images[:-1], images[1:]], 1))
        largest = pairs.abs().amax((1, 2, 3), keepdim=True)
        found.append((pairs / largest.clamp(min=1e-30))[largest[:, 0, 0, 0] > 0])
    images = torch.cat(found)
    need(len(images) > 0, f"{recipe.data} holds no two neighbouring slices: give volumes (slices, H, W)")
    return Pictures(images)


def _gathered(found: Dataset, progress: bool) -> Pictures:
    n = len(found)
    labels = torch.tensor([found.label(i) or 0 for i in range(n)]) if found.classes else None
    images: Rows = Lazy(found)
    if n * 4 * torch.Size(found.shape).numel() <= CACHE_BYTES:
        images = torch.stack([found[i] for i in track(range(n), "pictures", shown=progress)])
    return Pictures(images, labels, tuple(found.classes), skipped=tuple(found.skipped))


class Lazy:
    """A data set too large for memory, indexed like a tensor of pictures."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.stack([self.dataset[i] for i in index.tolist()])
