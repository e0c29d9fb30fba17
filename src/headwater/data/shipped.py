"""The sets of the gallery: read, checked against the manifest, split, resized."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from headwater.gallery import folder

from . import augment, rows
from .resize import area, vote
from .rows import Pairs
from .series import Table


@dataclass(frozen=True)
class Set:
    """Pictures of one split.

    Attributes:
        name: name of the set.
        split: name of the split.
        images: float32 (N, C, H, W) in [-1, 1].
        labels: int64 (N,) classes or (N, H, W) label maps, where the set has them.
        names: N captions or identifiers, where the set has them.
        classes: what the label values mean.
        meta: more about each picture: tensors with N rows and lists of N entries.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor | None = None
    names: list[str] | None = None
    classes: list[str] = field(default_factory=list)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def select(self, which: Tensor) -> Set:
        """The pictures that an int64 index (M,) or a bool mask (N,) names."""
        index = which.nonzero()[:, 0] if which.dtype == torch.bool else which
        rows = index.tolist()
        return replace(
            self,
            images=self.images[index],
            labels=None if self.labels is None else self.labels[index],
            names=None if self.names is None else [self.names[i] for i in rows],
            meta={
                k: v[index] if isinstance(v, Tensor) else [v[i] for i in rows] for k, v in self.meta.items()
            },
        )


@cache
def manifest() -> dict[str, Any]:
    """What ships: per set its files with SHA-256, licence, source packages, classes, splits.

    Raises UserError where the gallery is not installed.
    """
    return json.loads((folder("data") / "manifest.json").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Names of the sets of pictures."""
    return list(_LOADERS)


def splits(name: str) -> list[str]:
    """Splits of a set, the training split first.

    Raises:
        ValueError: if there is no such set.
    """
    known = _known(name.removesuffix("-hue"))
    return list(_LOADERS[known][1] if known in _LOADERS else rows.SPLITS)


@overload
def load(name: Literal["verses"], split: str = ...) -> Pairs: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def load(name: Literal["air"], split: str = ...) -> Table: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def load(
    name: str,
    split: str = ...,
    size: int | None = ...,
    *,
    hue_rotated: bool = ...,
    augmented: int = ...,
    seed: int = ...,
) -> Set: ...
def load(
    name: str,
    split: str = "train",
    size: int | None = None,
    *,
    hue_rotated: bool = False,
    augmented: int = 0,
    seed: int = 0,
) -> Set | Pairs | Table:
    """Load one split of a shipped set: a `Set` of pictures, `Pairs` of verses, or a `Table` of the air.

    Args:
        name: one of `names()`, `verses` or `air`. `emoji-parts-hue` is `emoji-parts` with `hue_rotated`.
        split: one of `splits(name)`. For `brain`, train is MNI152 (`mni`) and test Colin27
            (`colin`); load("brain", "colin") and load("brain", "mni") swap the roles. For
            `emoji-parts`, few-label methods take their labels from `pool`, and `prior` (train and
            pool together) is what a prior may see. `emoji` and its labels mix both styles.
        size: side of the pictures in pixels; None gives the stored size (digits: padded to 32).
            Pictures are shrunk by area averaging, label maps by majority vote; `textures` are
            cropped at full resolution instead.
        hue_rotated: turn the hue of each picture by one angle drawn from (split, picture), so
            that colour does not give classes away; black, grey and white stay.
        augmented: for `brain` and `photos`, return this many changed pictures instead of the originals:
            item i is picture i mod n, changed by `augment.brain` or cut out by `augment.crop` with a
            generator seeded by (seed, i).
        seed: seed of the augmentation and of the crops of `textures`.

    Raises:
        ValueError: on an unknown set or split, a size larger than the stored one, an option that
            the set has no use for, a data file that differs from the manifest, or where the gallery is
            not installed.
    """
    if name.endswith("-hue"):
        name, hue_rotated = name.removesuffix("-hue"), True
    known = splits(name)
    if split not in known:
        raise ValueError(f"{name} has no split {split!r}: choose one of {', '.join(known)}")
    if name not in _LOADERS:
        if size is not None or hue_rotated or augmented:
            raise ValueError(f"{name} holds no pictures: leave size, hue_rotated and augmented out")
        return _ROWS[name](arrays(name), split)
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    if augmented and name == "photos":
        # A part that is shown nearer has to be cut out of the picture as it is stored.
        return _augmented(_photos(split, None, seed), augmented, seed, size)
    found = _LOADERS[name][0](split, size, seed)
    if hue_rotated:
        found = _rotated(found)
    if augmented:
        found = _augmented(found, augmented, seed)
    return found


def arrays(stem: str) -> dict[str, np.ndarray]:
    """Arrays of one shipped file as stored, after its SHA-256 was checked.

    Raises:
        ValueError: if the file is missing or differs from the manifest.
    """
    expected = next(
        entry["files"][f"{stem}.npz"] for entry in manifest().values() if f"{stem}.npz" in entry["files"]
    )
    path = folder("data") / f"{stem}.npz"
    data = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise ValueError(f"{path.name} of the gallery is damaged: reinstall headwater-gallery")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _known(name: str) -> str:
    known = [*_LOADERS, *_ROWS]
    if name not in known:
        raise ValueError(f"no shipped set is called {name!r}: choose one of {', '.join(known)}")
    return name


def _unit(pictures: np.ndarray, top: int = 255) -> Tensor:
    """uint8 (N, H, W) or (N, H, W, 3) in 0..top -> float32 (N, C, H, W) in [-1, 1]."""
    tensor = torch.from_numpy(pictures).float() * (2 / top) - 1
    return tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def _shrunk(name: str, images: Tensor, size: int | None) -> Tensor:
    stored = images.shape[-1]
    if size is not None and size > stored:
        raise ValueError(f"{name} is stored at {stored}x{stored}: ask for size <= {stored}")
    return area(images, size or stored, size or stored)


def _digits(split: str, size: int | None, seed: int) -> Set:
    found = arrays("digits")
    rows = found["test"] == (split == "test")
    images = _unit(found["images"][rows])
    if size != 28:
        images = torch.nn.functional.pad(images, (2, 2, 2, 2), value=-1.0)
    return Set(
        "digits",
        split,
        _shrunk("digits", images, size),
        torch.from_numpy(found["labels"][rows]).long(),
        classes=manifest()["digits"]["classes"],
        meta={"id": torch.from_numpy(np.flatnonzero(rows))},
    )


def _tiny(split: str, size: int | None, seed: int) -> Set:
    found = arrays("tiny")
    rows = found["test"] == (split == "test")
    return Set(
        "tiny",
        split,
        _shrunk("tiny", _unit(found["images"][rows], top=16), size),
        torch.from_numpy(found["labels"][rows]).long(),
        classes=manifest()["tiny"]["classes"],
        meta={"id": torch.from_numpy(np.flatnonzero(rows))},
    )


def _emoji(split: str, size: int | None, seed: int) -> Set:
    images, captions, styles = [], [], []
    for style, name in enumerate(manifest()["emoji"]["classes"]):
        found = arrays(f"emoji-{name}")
        rows = found["test"] == (split == "test")
        images.append(_shrunk("emoji", _unit(found["images"][rows]), size))
        captions += found["names"][rows].tolist()
        styles += [style] * int(rows.sum())
    return Set(
        "emoji",
        split,
        torch.cat(images),
        torch.tensor(styles),
        names=captions,
        classes=manifest()["emoji"]["classes"],
    )


def _photos(split: str, size: int | None, seed: int) -> Set:
    images, captions = [], []
    for stem in ("photos", "photos-sa"):
        found = arrays(stem)
        rows = found["test"] == (split == "test")
        if rows.any():
            images.append(_shrunk("photos", _unit(found["images"][rows]), size))
            captions += found["names"][rows].tolist()
    return Set("photos", split, torch.cat(images), names=captions)


def _textures(split: str, size: int | None, seed: int) -> Set:
    side = size or 64
    classes = manifest()["textures"]["classes"]
    found = arrays("textures")
    height, width = found[classes[0]].shape
    if side > width // 2:
        raise ValueError(f"half a texture is {width // 2} pixels wide: ask for size <= that")
    first = 0 if split == "train" else width // 2
    crops, labels, corners = [], [], []
    for label, name in enumerate(classes):
        draw = np.random.default_rng([seed, split == "test", label])
        for _ in range(_CROPS[split]):
            top = int(draw.integers(height - side + 1))
            left = first + int(draw.integers(width // 2 - side + 1))
            crops.append(found[name][top : top + side, left : left + side])
            labels.append(label)
            corners.append((top, left))
    return Set(
        "textures",
        split,
        _unit(np.stack(crops)),
        torch.tensor(labels),
        names=[f"{classes[k]} {t},{x}" for k, (t, x) in zip(labels, corners, strict=True)],
        classes=classes,
        meta={"corners": torch.tensor(corners)},
    )


def _emoji_parts(split: str, size: int | None, seed: int) -> Set:
    found = arrays("emoji-parts")
    keep = {"train": [0], "pool": [1], "test": [2], "prior": [0, 1]}[split]
    rows = np.isin(found["split"], keep)
    images = _shrunk("emoji-parts", _unit(found["images"][rows]), size)
    side = images.shape[-1]
    return Set(
        "emoji-parts",
        split,
        images,
        vote(torch.from_numpy(found["labels"][rows]).long(), side, side),
        names=found["names"][rows].tolist(),
        classes=manifest()["emoji-parts"]["classes"],
        meta={
            "id": torch.from_numpy(np.flatnonzero(rows)),
            "bases": found["bases"][rows].tolist(),
        },
    )


def _brain(split: str, size: int | None, seed: int) -> Set:
    head = {"train": "mni", "test": "colin"}.get(split, split)
    found = arrays(f"brain-{head}")
    images = _shrunk("brain", _unit(found["images"]), size)
    side = images.shape[-1]
    inside = area(torch.from_numpy(found["mask"]).float(), side, side) >= 0.5
    meta: dict[str, Any] = {"mask": inside, "z": torch.from_numpy(found["z"]).long()}
    labels = None
    if "gm" in found:
        tissue = {k: area(torch.from_numpy(found[k]) / 255.0, side, side) for k in ("gm", "wm")}
        csf = (1 - tissue["gm"] - tissue["wm"]).clamp(0, 1)
        labels = 1 + torch.stack([csf, tissue["gm"], tissue["wm"]]).argmax(0)
        labels = torch.where(inside, labels, 0)
        meta |= tissue
    names = [f"{head} z={z} mm" for z in found["z"].tolist()]
    return Set("brain", split, images, labels, names, manifest()["brain"]["classes"], meta)


def _rotated(found: Set) -> Set:
    if found.images.shape[1] != 3 or "id" not in found.meta:
        raise ValueError(f"{found.name} has no hue-rotated variant: leave hue_rotated out")
    generator = torch.Generator()
    angles = torch.empty(len(found))
    for row, picture in enumerate(found.meta["id"].tolist()):
        # One seed per picture of the set: the splits partition the pictures, so each owns its own.
        generator.manual_seed(360_000 + picture)
        angles[row] = 360 * torch.rand((), generator=generator)
    images = augment.rotate_hue(found.images, angles)
    return replace(found, images=images, meta={**found.meta, "hue_degrees": angles})


def _augmented(found: Set, count: int, seed: int, size: int | None = None) -> Set:
    if found.name not in ("brain", "photos"):
        raise ValueError(f"{found.name} has no augmentation: leave augmented out")
    generator = torch.Generator()
    images = []
    for i in range(count):
        generator.manual_seed(seed * 1_000_003 + i)
        image = found.images[i % len(found)]
        if found.name == "brain":
            images.append(augment.brain(image, generator))
        else:
            images.append(augment.crop(image, generator, size or image.shape[-1]))
    # The tissue maps and names are those of the whole pictures, so they are left out.
    meta = {k: v[torch.arange(count) % len(found)] for k, v in found.meta.items() if k == "z"}
    return Set(found.name, found.split, torch.stack(images), meta=meta)


# Crops drawn from each texture.
_CROPS = {"train": 1000, "test": 100}

_Reader = Callable[[str, int | None, int], Set]
_LOADERS: dict[str, tuple[_Reader, tuple[str, ...]]] = {
    "digits": (_digits, ("train", "test")),
    "emoji": (_emoji, ("train", "test")),
    "emoji-parts": (_emoji_parts, ("train", "pool", "test", "prior")),
    "brain": (_brain, ("train", "test", "mni", "colin")),
    "textures": (_textures, ("train", "test")),
    "photos": (_photos, ("train", "test")),
    "tiny": (_tiny, ("train", "test")),
}
_ROWS: dict[str, Callable[[dict[str, np.ndarray], str], Pairs | Table]] = {
    "verses": rows.verses,
    "air": rows.air,
}
