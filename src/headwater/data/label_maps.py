"""Label maps of the user's own: numbers or palette indices, and whether these number classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from headwater.errors import need
from headwater.notes import note

from .arrays import read_npy
from .lossless import grey_step, lossless
from .nifti import read_volume
from .orientation import Grid, distinct, turned
from .pictures import Limits, UnreadableError, centre_box
from .pixels import grid_of, upright
from .resize import nearest, vote
from .volumes import square_size

UNLABELLED = 255
BLACK_AND_WHITE = (0, UNLABELLED)
"""Values of label maps of two classes that are made to be looked at."""
_HIGHEST = (1 << 31) - 1
"""Largest value of a label map."""
_NAMED = 8
"""Values that a sentence names before it breaks off."""


def read_labels(
    path: Path | str,
    size: tuple[int, int] | None = None,
    *,
    classes: int | None = None,
    values: Sequence[int] = (),
    limits: Limits | None = None,
    turn: int = 1,
) -> Tensor:
    """Read a label map: int64 (H, W), the class of every pixel, -1 where it is unlabelled (255).

    Of an index-coloured file the palette index counts, of a gray file the gray value as it is stored, also
    with 2 or 4 bits a pixel. Resized to `size` (H, W) with the centre crop of `read_picture`, by majority
    vote.

    Args:
        path: PNG, TIFF or .npy of whole numbers.
        size: (H, W) to resize to; None keeps the file's.
        classes: number of classes, if no more are allowed.
        values: value of each class in the file, in the order of classes; () takes the values for the classes
            0, 1, 2, ..., and notes it where some of these are missing.
        limits: caps on file size and pixels.
        turn: EXIF orientation tag of the picture, 1 to 8, if the map is drawn on the picture as it is stored;
            a tag of the map's own is applied anyway.

    Raises:
        UnreadableError: if the file cannot be read, has colours without a palette, or holds a value that
            `values` lacks or a class >= `classes`.
    """
    stored, _ = _numbers(Path(path), limits)
    if not values:
        held = Held()
        held.add(Path(path), stored)
        if gap := held.gap():
            note(f"{gap}: the values are taken for classes all the same", path)
        elif tuple(held.values) == BLACK_AND_WHITE:
            note(
                "is black and white: white (255) counts as unlabelled, unless you give values=(0, 255)", path
            )
    labels = _classes(turned(stored, turn), values, path)
    del stored  # of a large map, as much as all that follows
    if classes is not None and int(labels.max()) >= classes:
        raise UnreadableError(f"{path} has label {int(labels.max())}: use 0 to {classes - 1}")
    return (resized(labels, size) if size else labels).long()


def read_ids(
    path: Path | str, size: tuple[int, int] | None = None, *, limits: Limits | None = None, turn: int = 1
) -> Tensor:
    """Read numbers that tell one thing from the next, such as instances: int64 (H, W), as they are stored.

    Files, `size`, `limits` and `turn` as for `read_labels`, but that a pixel of a resized map has the number
    under its middle. Raises UnreadableError if the file cannot be read.
    """
    stored, _ = _numbers(Path(path), limits)
    ids = torch.from_numpy(np.array(turned(stored, turn), np.int64))
    return nearest(_middle(ids, size), *size) if size else ids


@dataclass
class Held:
    """The values that label maps hold, and what tells whether these number classes."""

    values: dict[int, Path] = field(default_factory=dict)
    """In rising order; of each, a file that has it."""
    colours: dict[int, tuple[bytes, Path]] = field(default_factory=dict)
    """Of each palette index, the colour and a file."""
    clash: str = ""
    """A sentence, if two files give an index different colours."""

    @classmethod
    def by(cls, paths: Iterable[Path], limits: Limits | None = None) -> Held:
        """What these files hold; those that cannot be read are left to whoever reads them."""
        found = cls()
        for path in paths:
            try:
                stored, palette = _numbers(path, limits)
            except UnreadableError:
                continue
            found.add(path, stored, palette)
        return found

    def add(self, path: Path, stored: Grid, palette: bytes = b"") -> None:
        """Count in a file: its numbers (H, W), and RGB bytes of its palette, if it has one."""
        held = distinct(stored).tolist()
        self.values = dict(sorted({**dict.fromkeys(held, path), **self.values}.items()))
        for value in held if palette else ():
            colour = palette[3 * value : 3 * value + 3]
            if len(colour) < 3:  # the palette ends before this index
                continue
            before, other = self.colours.setdefault(value, (colour, path))
            if before != colour and not self.clash:
                self.clash = (
                    f"index {value} is #{before.hex()} in {other.name} and #{colour.hex()} in {path.name}"
                )

    def gap(self) -> str:
        """What the values are, if they are not 0, 1, 2, ... (and 255); else nothing."""
        used = [value for value in self.values if value != UNLABELLED]
        if used in ([], list(range(len(used)))):
            return ""
        return f"holds the values {named(self.values)}, which do not number classes from 0"

    def settled(self, flag: str, values: Sequence[int], known: int = 0) -> tuple[int, ...]:
        """The value of each class, for `read_labels`: as given by `values`, or else as it can only be.

        known: how many classes there are at least, if that is known. Raises UnreadableError that asks for
        --label-values where it cannot be told.
        """
        if values:
            if UNLABELLED in self.values and UNLABELLED not in values:
                note("255 is not among the label values: it counts as unlabelled", flag)
            return tuple(values)
        if tuple(self.values) == BLACK_AND_WHITE:
            note("is black and white: white is taken for class 1", flag)
            return BLACK_AND_WHITE
        if self.clash:
            raise UnreadableError(
                f"the palettes of these label maps differ, {self.clash}: save them with one palette, or add "
                f"--label-values {_words(self.values)} if the index is the class whatever its colour"
            )
        last = max((value for value in self.values if value != UNLABELLED), default=0)
        if self.gap() and last >= known:
            raise UnreadableError(
                f"these label maps hold the values {named(self.values)}, which do not number classes 0, 1, 2 "
                f"and so on: add --label-values {_words(self.values)}, the value of each class in the order "
                "of classes, also of those without a pixel here; 255, if left out, stays unlabelled"
            )
        return tuple(range(last + 1))


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The label maps of the axial slices of a NIfTI volume, anterior up, as its pictures are."""

    path: Path
    stored: Grid
    """Whole numbers (Z, H, W)."""

    @classmethod
    def read(cls, path: Path, limits: Limits | None = None) -> LabelVolume:
        """Read a volume of whole numbers; of voxels that are not square each square pixel has the number
        under its middle. UnreadableError as of `read_volume`, and for other numbers."""
        volume = read_volume(path, limits)
        slices = volume.values.permute(2, 1, 0).flip(1)
        size = square_size(volume.affine, (slices.shape[1], slices.shape[2]))
        if size != tuple(slices.shape[1:]):
            slices = torch.stack([nearest(one, *size) for one in slices])
        return cls(path, whole_numbers(slices.numpy(), str(path)))

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def held(self) -> Held:
        """The values of all slices."""
        found = Held()
        found.add(self.path, self.stored)
        return found

    def labels(self, row: int, size: tuple[int, int] | None, values: Sequence[int]) -> Tensor:
        """The label map of a slice, with `size` and `values` as for `read_labels`."""
        labels = _classes(self.stored[row], values, self.path)
        return (resized(labels, size) if size else labels).long()


def rgb_of(palette: Sequence[str]) -> list[tuple[int, int, int]]:
    """Red, green and blue, 0 to 255, of colours such as #ff0000. UserError for anything else."""
    for colour in palette:
        fits = re.fullmatch(r"#[0-9a-fA-F]{6}", colour)
        need(fits is not None, f"{colour!r} is no colour: give # and six hexadecimal digits, such as #ff0000")
    return [(value >> 16, value >> 8 & 255, value & 255) for value in (int(c[1:], 16) for c in palette)]


def note_gaps(labels: Tensor) -> None:
    """Note it if label maps int64 (any shape), as a method learns them, hold no pixel of some class."""
    held = [value for value in labels.unique().tolist() if value != UNLABELLED]
    if held and held != list(range(len(held))):
        what = f"hold the values {named(held)}: classes without a pixel count too, {held[-1] + 1} in all"
        note(what, "labels")


def named(values: Iterable[int]) -> str:
    """`0, 128, 255`, or the first of many and how many there are."""
    found = list(values)
    rest = f", ... ({len(found)} values)" if len(found) > _NAMED else ""
    return ", ".join(map(str, found[:_NAMED])) + rest


def _words(values: Iterable[int]) -> str:
    found = list(values)
    return " ".join(map(str, found)) if len(found) <= _NAMED else " ".join(map(str, found[:3])) + " ..."


def label_numbers(image: Image.Image, where: str, step: int = 1) -> Grid:
    """Whole numbers (H, W) that a picture holds as a label map: palette indices, or grey values over `step`.

    Raises UnreadableError for colours, which no numbering tells.
    """
    if image.mode in ("P", "PA"):
        image = image if image.mode == "P" else image.getchannel(0)
    elif image.mode in ("LA", "RGB", "RGBA"):
        bands = grid_of(image)[..., : 1 if image.mode == "LA" else 3]
        if (bands != bands[..., :1]).any():
            found = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
            names = ", ".join(f"#{bytes(colour).hex()}" for colour in found[:3])
            names += ", ..." if len(found) > 3 else ""
            raise UnreadableError(
                f"{where} is coloured ({len(found)} colours: {names}), and "
                "no numbers tell which class is which: save an index-coloured PNG or a grey one that "
                "holds 0, 1, 2, ... for the classes"
            )
        return np.ascontiguousarray(bands[..., 0])
    elif image.mode not in ("L", "1", "I") and not image.mode.startswith("I;16"):
        raise UnreadableError(f"{where} has mode {image.mode}: save an index-coloured PNG")
    numbers = grid_of(image)
    numbers = numbers.astype(np.uint8) if numbers.dtype == bool else numbers
    return numbers if step == 1 else numbers // step


def whole_numbers(array: Grid, where: str) -> Grid:
    """Labels int64 of an array of whole numbers, -1 being unlabelled. UnreadableError for other numbers."""
    whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool((array == np.round(array)).all()))
    if not whole or array.size == 0 or array.min() < -1:
        raise UnreadableError(f"{where} holds no whole numbers from 0 on: give the class of every pixel")
    if array.max() > _HIGHEST:
        raise UnreadableError(f"{where} holds {array.max():.9g}, which numbers no class: give 0, 1, 2, ...")
    labels = array.astype(np.int64)
    return np.where(labels == -1, UNLABELLED, labels)


def _numbers(path: Path, limits: Limits | None) -> tuple[Grid, bytes]:
    """What a file stores, as it is seen: whole numbers (H, W), and RGB bytes of its palette, if any."""
    if path.suffix.lower() == ".npy":
        array = read_npy(path, limits, plane=True)
        array = array[0] if array.ndim == 3 and len(array) == 1 else array
        if array.ndim != 2:
            raise UnreadableError(f"{path} has shape {array.shape}: give a label map of shape (H, W)")
        return whole_numbers(array, str(path)), b""
    with lossless(path, "label maps", limits) as image:
        step = grey_step(image, path)
        palette = bytes(image.getpalette("RGB") or ()) if image.mode == "P" else b""
        return label_numbers(upright(image), str(path), step), palette


def _classes(stored: Grid, values: Sequence[int], where: object) -> Tensor:
    """Class of every pixel, -1 where there is none, of what is stored."""
    if not values:
        if stored.dtype == np.uint8:
            numbers = np.arange(256, dtype=np.int16)
            numbers[UNLABELLED] = -1
            return torch.from_numpy(_looked_up(numbers, stored))
        return torch.from_numpy(np.where(stored == UNLABELLED, -1, stored.astype(np.int64)))
    found = distinct(stored)
    numbers = {value: k for k, value in enumerate(values)}
    numbers.setdefault(UNLABELLED, -1)
    strange = [value for value in found.tolist() if value not in numbers]
    if strange:
        raise UnreadableError(
            f"{where} holds the value {named(strange)}, which is not among the values of classes "
            f"{named(values)}: name the value of every class by --label-values"
        )
    most = max(numbers.values())
    classes = np.array([numbers[value] for value in found.tolist()], np.int16 if most < 1 << 15 else np.int64)
    if stored.dtype in (np.uint8, np.uint16):
        table = np.zeros(1 << 8 * stored.itemsize, classes.dtype)
        table[found] = classes
        return torch.from_numpy(_looked_up(table, stored))
    return torch.from_numpy(classes[np.searchsorted(found, stored)])


def _looked_up(table: Grid, places: Grid) -> Grid:
    """`table[places]`, some rows at a time: NumPy would make all places 64-bit numbers first."""
    found = np.empty(places.shape, table.dtype)
    step = max(1, (1 << 20) // places.shape[1])
    for top in range(0, len(places), step):
        found[top : top + step] = table[places[top : top + step]]
    return found


def _middle(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of a grid (H, W) that is resized: its middle, of the proportions of `size`."""
    left, top, right, bottom = centre_box(grid.shape[1], grid.shape[0], size[1] / size[0])
    return grid[top:bottom, left:right]


def resized(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Label maps int64 (H, W), -1 where unlabelled, in another size: the middle, by majority vote."""
    labels = _middle(labels, size)
    if labels.shape[0] >= size[0] and labels.shape[1] >= size[1]:
        return vote(labels, *size)  # unlabelled pixels vote too, and lose ties
    return nearest(labels, *size)
