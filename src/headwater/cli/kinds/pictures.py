"""Pictures, masks, label maps and maps of numbers: tensors of one shape."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater.atomic import write_file
from headwater.cli.kinds.family import Family, Files, Items, Request, Shape, picture_files, relative, stem
from headwater.data import UnreadableError, open_dataset, save_labels, save_mask, save_picture
from headwater.data.arrays import read_npy
from headwater.data.datasets import Dataset, is_shipped, shipped_maps, volumes_below
from headwater.data.formats import format_of
from headwater.data.label_maps import (
    BLACK_AND_WHITE,
    UNLABELLED,
    Held,
    LabelVolume,
    read_ids,
    read_labels,
    resized,
    rgb_of,
)
from headwater.data.levels import check_window
from headwater.data.listing import files_below
from headwater.data.masks import read_known, read_mask
from headwater.data.nifti import is_volume
from headwater.data.pictures import FORMATS, SUFFIXES, list_pictures, picture_shape, read_picture
from headwater.data.volumes import Grid
from headwater.errors import need
from headwater.notes import note
from headwater.report import Cell, Classes, Heat


@dataclass(frozen=True)
class _Stored:
    """Pictures of an array file or a shipped set."""

    data: Dataset
    names: list[str]
    shape: Shape

    def __getitem__(self, row: int) -> Tensor:
        return self.data[row]

    @property
    def grid(self) -> Grid | None:
        """Where they lie in the volume that they are slices of."""
        return getattr(self.data, "grid", None)

    @property
    def files(self) -> list[Path]:
        """The file of each picture, where they are from several."""
        return getattr(self.data, "files", [])


class Images(Family):
    """float32 (C, H, W) in [-1, 1]."""

    def open(self, ask: Request) -> Items:
        window = check_window(ask.reading.window)
        if not _loose(ask.where):
            data = open_dataset(ask.where, ask.shape, labels="none", window=window, slices=ask.reading.slices)
            return _Stored(data, [data.name(i) for i in range(len(data))], data.shape)
        shape, bands = ask.shape or _stored(ask.path), ask.reading.bands
        return picture_files(ask, lambda path: read_picture(path, shape, None, window, bands), shape)

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}.png"]

    def write(self, out: Path, key: str, name: str, item: Tensor) -> str:
        """Of several pictures (n, C, H, W) the first at its place, the others in folders numbered from 2."""
        (file,) = self.files(key, name)
        for i, one in enumerate(item if item.ndim == 4 else item[None], 1):
            save_picture(one, out / (file if i == 1 else self.files(f"{key}-{i}", name)[0]))
        return ""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        """Several pictures, and channels that are no colours, side by side."""
        shown = [torch.cat(list(item), -1) if item.ndim == 4 else item for item in items]
        return [one if len(one) in (1, 3) else torch.cat(list(one), -1)[None] for one in shown]


@dataclass(frozen=True)
class Measured(Images):
    """float32 (C, H, W) in [-1, 1], each as it is stored: what was measured is not to be resized. Numbers
    that are no picture, such as magnitudes of a Fourier transform, are a folder of .npy files."""

    picture: bool = True
    """Whether pictures are written, or numbers as they are."""

    def open(self, ask: Request) -> Items:
        if not _loose(ask.where):
            return super().open(replace(ask, shape=None))
        arrays = files_below(ask.path, (".npy",)) if ask.path.is_dir() else []
        if arrays and not files_below(ask.path, SUFFIXES):
            return Files(relative(arrays, ask.path), arrays, _numbers)
        window = check_window(ask.reading.window)
        bands = ask.reading.bands
        return picture_files(ask, lambda path: read_picture(path, picture_shape(path), None, window, bands))

    def files(self, key: str, name: str) -> list[str]:
        return super().files(key, name) if self.picture else [f"{key}/{stem(name)}.npy"]

    def write(self, out: Path, key: str, name: str, item: Tensor) -> str:
        if self.picture:
            return super().write(out, key, name, item)
        save_npy(out / self.files(key, name)[0], item)
        return ""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        """Pictures, and of numbers that are none their logarithms, all colours together."""
        return [x if x.ndim == 3 and float(x.abs().max()) <= NOISY else _shown(x) for x in items]


@dataclass(frozen=True)
class Drawn:
    """Masks or label maps, which are drawn on pictures and turned with them."""

    names: list[str]
    paths: list[Path]
    one: Callable[[Path, int], Tensor]
    """Path, EXIF orientation tag of the picture it is drawn on -> item."""

    def __getitem__(self, row: int) -> Tensor:
        tag, row = divmod(row, len(self.paths))
        return self.one(self.paths[row], 1 + tag)

    def turned(self, row: int, tag: int) -> int:
        """The row of the same item drawn on a picture as it is stored that has this orientation tag."""
        return row + (tag - 1) * len(self.paths)


class Masks(Family):
    """bool (1, H, W)."""

    def open(self, ask: Request) -> Items:
        size, threshold = ask.shape[1:] if ask.shape else None, ask.reading.threshold

        def one(path: Path, turn: int) -> Tensor:
            if ask.name != "known":
                return read_mask(path, size, threshold=threshold, turn=turn)[None]
            known = read_known(path, size, white="known", threshold=threshold, turn=turn)[None]
            if size is not None and bool(known.all()):
                note("is white everywhere: all of the picture is known", path)
            if size is not None and not bool(known.any()):
                note("leaves no pixel white: nothing of the picture is known", path)
            return known

        names, paths = _grids(ask, "mask")
        return Drawn(names, paths, one)

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}.png"]

    def write(self, out: Path, key: str, name: str, item: Tensor) -> str:
        (file,) = self.files(key, name)
        save_mask(item.reshape(item.shape[-2:]), out / file)
        return ""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        return [item.reshape(item.shape[-2:]) for item in items]


@dataclass(frozen=True)
class _StoredMaps:
    """Label maps of a shipped set."""

    names: list[str]
    maps: Tensor
    size: tuple[int, int] | None

    def __getitem__(self, row: int) -> Tensor:
        return resized(self.maps[row], self.size) if self.size else self.maps[row]


@dataclass(frozen=True)
class _VolumeMaps:
    """Label maps of the slices of a volume, named as its pictures would be."""

    volume: LabelVolume
    size: tuple[int, int] | None
    values: tuple[int, ...]
    rest: int
    """The label of what is none of the values."""

    @property
    def names(self) -> list[str]:
        """The volume's name with the number of the slice."""
        return [f"{self.volume.path.name.split('.')[0]}-{i:05d}" for i in range(len(self.volume))]

    @property
    def shape(self) -> Shape:
        """Of the maps, of one channel."""
        height, width = self.size or self.volume.stored.shape[1:]
        return (1, height, width)

    def __getitem__(self, row: int) -> Tensor:
        labels = self.volume.labels(row, self.size, self.values)
        return torch.where(labels < 0, self.rest, labels)


@dataclass(frozen=True)
class Labels(Family):
    """int64 (H, W), `UNLABELLED` where no class is given."""

    palette: tuple[tuple[int, int, int], ...] = ()
    """Colour of each class in files and on pages; by default hues that are far apart."""

    def of(self, method: Any) -> Labels:
        return replace(self, palette=tuple(rgb_of(getattr(method, "palette", ()))))

    def open(self, ask: Request) -> Items:
        if is_shipped(ask.where) and not ask.made:
            return _StoredMaps(*shipped_maps(ask.where), ask.shape[1:] if ask.shape else None)
        size, said = ask.shape[1:] if ask.shape else None, ask.reading.label_values
        volume = LabelVolume.read(ask.path) if ask.path.is_file() and is_volume(ask.path) else None
        names, paths = _grids(ask, "label map") if volume is None else ([], [])
        held = Held.by(paths) if volume is None else volume.held
        values = tuple(range(UNLABELLED)) if ask.made else held.settled(ask.flag, said, ask.classes)
        # Pixels that are white after resizing are of class 1: ties go to black, as everywhere with 255.
        values, rest = (values[:1], 1) if values == BLACK_AND_WHITE else (values, UNLABELLED)
        if volume is not None:
            return _VolumeMaps(volume, size, values, rest)

        def one(path: Path, turn: int) -> Tensor:
            labels = read_labels(path, size, values=values, turn=turn)
            return torch.where(labels < 0, rest, labels)

        return Drawn(names, paths, one)

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}.png"]

    def write(self, out: Path, key: str, name: str, item: Tensor) -> str:
        """Of several maps (n, H, W) the first at its place, the others in folders numbered from 2."""
        for i, one in enumerate(item if item.ndim == 3 else item[None], 1):
            (file,) = self.files(key if i == 1 else f"{key}-{i}", name)
            save_labels(torch.where(one == UNLABELLED, -1, one), out / file, [*self.palette])
        return ""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        items = [torch.cat(list(item), -1) if item.ndim == 3 else item for item in items]
        used = [item[item != UNLABELLED] for item in items]
        count = max((int(labels.max()) + 1 for labels in used if len(labels)), default=1)
        return [Classes(torch.where(item == UNLABELLED, -1, item), count, self.palette) for item in items]


class Ids(Labels):
    """int64 (H, W), numbers that tell one thing from the next, as they are stored."""

    def open(self, ask: Request) -> Items:
        names, paths = _grids(ask, "map of numbers")
        size = ask.shape[1:] if ask.shape else None
        return Drawn(names, paths, lambda path, turn: read_ids(path, size, turn=turn))


class Maps(Family):
    """float32 (1, H, W), any range."""

    def open(self, ask: Request) -> Items:
        path = ask.path
        paths = [path] if path.is_file() else files_below(path, (".npy",))
        need(bool(paths), f"{ask.flag}: {ask.where} holds no .npy file: check the path")
        return Files(relative(paths, path), paths, lambda path: _map(path, ask.shape))

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}.npy", f"{key}/{stem(name)}.png"]

    def write(self, out: Path, key: str, name: str, item: Tensor) -> str:
        exact, seen = self.files(key, name)
        save_npy(out / exact, item)
        top = float(item.max())
        save_picture(2 * item / top - 1 if top > 0 else item - 1, out / seen)
        return ""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        return [Heat(item[0]) for item in items]


NOISY = 4.0
"""Values of a picture with noise lie no further from 0 than this."""


def _shown(numbers: Tensor) -> Cell:
    size = numbers.abs().mean(0) if numbers.ndim == 3 else numbers.abs()
    return Heat(torch.log1p(100 * size / size.max().clamp_min(1e-30)))


def save_npy(path: Path, value: Tensor) -> None:
    """Write an array, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, value.cpu().numpy(), allow_pickle=False)
    write_file(path, buffer.getvalue())


def _numbers(path: Path, plane: bool = False) -> Tensor:
    """Real finite numbers, as they are stored; plane: see `read_npy`."""
    array = read_npy(path, plane=plane)
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise UnreadableError(f"{path} holds values that are no finite real numbers: replace them")
    return torch.from_numpy(np.asarray(array, np.float32))


def _map(path: Path, shape: Shape | None) -> Tensor:
    """A map of finite numbers (1, H, W), of the height and width that are worked at."""
    found = _numbers(path, plane=True)
    found = found[None] if found.ndim == 2 else found
    size = tuple(found.shape[-2:]) if shape is None else shape[1:]
    if found.shape != (1, *size):
        wanted = "(1, H, W)" if shape is None else f"{(1, *size)}, the size of the pictures here"
        raise UnreadableError(f"{path} has shape {tuple(found.shape)}: give a map of shape {wanted}")
    return found


def _grids(ask: Request, what: str) -> tuple[list[str], list[Path]]:
    """Names and paths of masks or label maps: pictures, or where there are none, .npy files."""
    path = ask.path
    paths = [path] if path.is_file() else files_below(path, (".npy",))
    if path.is_dir() and files_below(path, SUFFIXES):
        paths = list_pictures(path)
    need(bool(paths), f"{ask.flag}: {ask.where} holds no PNG, TIFF or .npy {what}: check the path")
    return relative(paths, path), paths


def _stored(path: Path) -> Shape:
    """Channels, height and width of the first picture that can be opened."""
    for one in [path] if path.is_file() else list_pictures(path):
        try:
            return picture_shape(one)
        except UnreadableError:
            if one == path:  # it alone was asked for, and its own sentence says why
                raise
    raise UnreadableError(f"no picture of {path} can be read: check the files")


def _loose(where: str) -> bool:
    """Whether these are pictures that are read one by one: a folder, or a single picture."""
    path = Path(where).expanduser()
    if is_shipped(where):
        return False
    if path.is_file():
        return path.suffix.lower() in SUFFIXES or format_of(path) in FORMATS
    return path.is_dir() and not volumes_below(path)
