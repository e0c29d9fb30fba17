"""What a user may give where a method takes a tensor: NumPy arrays, PIL pictures, lists of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater.data.arrays import picture_stack
from headwater.data.label_maps import label_numbers
from headwater.data.layout import batch_of
from headwater.data.levels import digits
from headwater.data.masks import brightness, numbered, white_of
from headwater.data.pictures import UnreadableError, levels_of
from headwater.data.pixels import is_gray, pixels_of
from headwater.errors import UserError, need
from headwater.notes import note

Array = np.ndarray[Any, Any]

SPARE, SPARE_BYTES = 1.001, 8
"""How far from 0 a value of [-1, 1] may lie, and above what whole numbers are those of 8-bit pixels."""
_ORIENTATION = 0x0112
"""The tag of EXIF."""


def images(value: Any, name: str, limit: float | None = SPARE) -> Tensor:
    """Pictures float32 (B, C, H, W) in [-1, 1], from one or a list of PIL pictures, arrays or tensors.

    Arrays: bool, uint8 (0 .. 255) or float in [-1, 1]; axes as `headwater.data.layout.batch_of` reads them,
    such as (H, W), (H, W, C), (B, H, W, C) or (B, C, H, W), C 1 or 3, or 4 with opacity. limit: how far from
    0 floats may lie; None for any.
    Raises UserError for any other shape or range, and where the shape may mean two things.
    """
    if isinstance(value, list | tuple):
        need(len(value) > 0, f"{name} is empty: give one picture or more")
        parts = [tensor(v, name) if isinstance(v, Tensor) else images(v, name, limit) for v in value]
        parts = [v[None] if v.ndim == 3 else v for v in parts]
        shapes = sorted({tuple(v.shape[1:]) for v in parts})
        need(len(shapes) == 1, f"{name} has pictures of different shapes, {shapes[:2]}: resize them to one")
        return torch.cat(parts)
    if hasattr(value, "convert"):
        return _from_pillow(value, name)
    array = batch_of(np.asarray(value), name)
    if array.shape[1] == 4:
        need(
            array.dtype == np.uint8,
            f"{name} has opacity as {array.dtype}: give it as uint8, or lay it on white",
        )
        return picture_stack(array, name)
    found = torch.from_numpy(np.array(array))
    if found.dtype == torch.uint8:
        return found.float() / 255 * 2 - 1
    if found.dtype == torch.bool:
        return found.float() * 2 - 1
    need(
        found.is_floating_point(),
        f"{name} has numbers of {found.dtype}: give uint8 pixels or floats in [-1, 1]",
    )
    tensor(found, name, limit)
    if bool((found >= 0).all()) and bool((found > 0).any()) and float(found.max()) <= SPARE:
        note(
            "has no value below 0 and is read as [-1, 1], where 0 is mid-grey; give 2 x - 1 if it is [0, 1]",
            name,
        )
    return found.float()


def tensor(value: Tensor, name: str, limit: float | None = None) -> Tensor:
    """A tensor of pictures as it is; of uint8 and bool, from black to white in [-1, 1].

    limit: the largest value that can be meant, negative ones alike; None for data without bounds. Whatever it
    is, whole numbers from 0 to 255 are not meant.

    Raises UserError for other whole numbers, values beyond the limit, and NaN or infinite ones.
    """
    if value.dtype == torch.uint8:
        return value.float() / 255 * 2 - 1
    if value.dtype == torch.bool:
        return value.float() * 2 - 1
    need(
        value.is_floating_point() or value.is_complex(),
        f"{name} has numbers of {value.dtype}: give uint8 pixels or floats in [-1, 1]",
    )
    if value.numel() == 0 or value.is_complex():
        return value
    low, high = float(value.detach().min()), float(value.detach().max())
    need(low - low == 0 and high - high == 0, f"{name} has values that are NaN or infinite: replace them")
    inside = limit is None or max(-low, high) <= limit
    need(
        inside and not _of_bytes(value, low, high),
        f"{name} goes from {digits(low)} to {digits(high)}, but pictures lie in [-1, 1]: rescale them, or "
        "give uint8 pixels of 0 to 255",
    )
    return value


def _of_bytes(value: Tensor, low: float, high: float) -> bool:
    """Whether these are pixels from 0 to 255 in floats."""
    return low >= 0 and SPARE_BYTES < high <= 255 and bool((value == value.round()).all())


def _from_pillow(picture: Any, name: str) -> Tensor:
    """A PIL picture, of gray ones one channel, else RGB, as `read_picture` would read its file."""
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        note("has an orientation tag, which is not applied; PIL.ImageOps.exif_transpose does", name)
    try:
        found = pixels_of(picture, name, 1 if is_gray(picture) else 3)
        low, high = levels_of(found, name, None)
    except UnreadableError as error:
        raise UserError(f"{error}; or give an array in [-1, 1]") from None
    planes = torch.from_numpy(np.stack([np.asarray(plane, np.float32) for plane in found.planes]))
    unit = ((planes - low if low else planes) / (high - low)).clamp(0, 1)
    return ((1 - unit if found.inverted else unit) * 2 - 1)[None]


def measured(value: Any, name: str) -> Tensor:
    """The same of what was measured, whose noise may go beyond black and white."""
    return images(value, name, None)


def mask(value: Any, name: str) -> Tensor:
    """Masks bool (B, 1, H, W), of black and white: PIL pictures, arrays (H, W), (B, H, W), (B, 1, H, W).

    What is white is decided as in files, see `headwater.data.masks.white_of`, over all masks at once.
    """
    many = list(value) if isinstance(value, list | tuple) else [value]
    read = [brightness(v, name) if hasattr(v, "convert") else numbered(np.asarray(v)) for v in many]
    need(len({top for _, top in read}) == 1, f"{name} has masks of different types: give all of one type")
    grids = _one_array([grid for grid, _ in read], isinstance(value, list | tuple), name)
    need(grids.size > 0, f"{name} is empty: give one mask or more")
    white = white_of(grids, read[0][1], name, advice=f"compare it first, as in {name} >= {{value:g}}")
    return _channelled(torch.from_numpy(white), name)


def labels(value: Any, name: str) -> Tensor:
    """Label maps int64 (B, H, W), from PIL pictures or arrays of whole numbers (H, W) or (B, H, W).

    Of a palette the index counts, of a gray picture its number; colours are refused, as in files.
    """
    many = list(value) if isinstance(value, list | tuple) else [value]
    read = [label_numbers(v, name) if hasattr(v, "convert") else np.asarray(v) for v in many]
    pixels = _one_array(read, isinstance(value, list | tuple), name)
    need(
        pixels.dtype.kind in "iu" and pixels.ndim in (2, 3),
        f"{name} is {pixels.shape} of {pixels.dtype}: give whole numbers (B, H, W)",
    )
    found = torch.from_numpy(pixels.astype(np.int64))
    return found[None] if found.ndim == 2 else found


def numbers(value: Any, name: str) -> Tensor:
    """Floats as they are, float32, from an array or a list."""
    return torch.as_tensor(np.asarray(value, np.float32))


def maps(value: Any, name: str) -> Tensor:
    """Maps float32 (B, 1, H, W), from arrays (H, W), (B, H, W) or (B, 1, H, W)."""
    return _channelled(numbers(value, name), name)


def texts(value: Any, name: str) -> list[str]:
    """A list of texts; a single one counts as a list of one. UserError names what is no text."""
    found = _many(value, name)
    for i, text in enumerate(found):
        need(
            isinstance(text, str),
            f"{name}[{i}] is a {type(text).__name__}, not a text: give one text an item, and repeat items "
            "that have several",
        )
    return found


def references(value: Any, name: str) -> list[Any]:
    """Texts, or lists of texts: all that are right for one item."""
    found = _many(value, name)
    return [text if isinstance(text, str) else texts(text, f"{name}[{i}]") for i, text in enumerate(found)]


def _many(value: Any, name: str) -> list[Any]:
    need(isinstance(value, Iterable), f"{name} is a {type(value).__name__}: give a list of texts")
    return [value] if isinstance(value, str) else list(value)


def slices(value: Any, name: str) -> list[Tensor]:
    """Tensors of single precision, complex or real as what was given, from a list or stack of arrays."""

    def single(array: Array) -> Array:
        return array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)

    return [v if isinstance(v, Tensor) else torch.as_tensor(single(np.asarray(v))) for v in value]


CONVERSIONS: dict[str, Callable[[Any, str], Any]] = {
    "images": images,
    "measured": measured,
    "mask": mask,
    "labels": labels,
    "ids": labels,
    "map": maps,
    "scores": numbers,
    "texts": texts,
    "references": references,
    "kspace": slices,
    "maps": slices,
    "complex": slices,
    "magnitude": slices,
}
"""By the name of a `Kind`, or `references` where an item may have several: (what was given, the argument's
name) -> what the method takes."""


def _one_array(found: list[Array], batch: bool, name: str) -> Array:
    """One array, or several of one shape as a batch."""
    need(len(found) > 0, f"{name} is empty: give one or more")
    need(len({a.shape for a in found}) == 1, f"{name} has parts of different shapes: give all of one size")
    return np.stack(found) if batch else found[0]


def _channelled(found: Tensor, name: str) -> Tensor:
    if found.ndim in (2, 3):
        found = found[None, None] if found.ndim == 2 else found[:, None]
    fits = found.ndim == 4 and found.shape[1] == 1
    need(fits, f"{name} has the shape {tuple(found.shape)}: give (H, W), (B, H, W) or (B, 1, H, W)")
    return found
