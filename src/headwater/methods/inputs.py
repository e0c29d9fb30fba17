"""What a user may give where a method takes a tensor: NumPy arrays, PIL pictures, lists of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater.data.label_maps import label_numbers
from headwater.data.masks import brightness, numbered, white_of
from headwater.data.pictures import on_white
from headwater.errors import need

Array = np.ndarray[Any, Any]


def images(value: Any, name: str) -> Tensor:
    """Pictures float32 (B, C, H, W) in [-1, 1], from one or a list of PIL pictures or arrays.

    Arrays: uint8 (0 .. 255) or float in [-1, 1]; (H, W), (H, W, C), (B, H, W, C) or (B, C, H, W), C 1 or 3.
    Raises UserError for any other shape or range, and where the shape may mean two things.
    """
    if isinstance(value, list | tuple):
        need(len(value) > 0, f"{name} is empty: give one picture or more")
        parts = [v if isinstance(v, Tensor) else images(v, name) for v in value]
        parts = [v[None] if v.ndim == 3 else v for v in parts]
        shapes = sorted({tuple(v.shape[1:]) for v in parts})
        need(len(shapes) == 1, f"{name} has pictures of different shapes, {shapes[:2]}: resize them to one")
        return torch.cat(parts)
    pixels = _array(value)
    shape = pixels.shape
    if pixels.ndim == 2:
        pixels = pixels[None, None]
    elif pixels.ndim == 3:
        need(
            shape[-1] in (1, 3),
            f"{name} has the shape {shape}, with no 1 or 3 channels at its end: give (H, W, C), or 4 axes",
        )
        pixels = pixels.transpose(2, 0, 1)[None]
    else:
        last, second = (pixels.ndim == 4 and shape[axis] in (1, 3) for axis in (-1, 1))
        need(
            last != second,
            f"{name} has the shape {shape}, so its channels may be anywhere: give (B, C, H, W), C 1 or 3",
        )
        pixels = pixels.transpose(0, 3, 1, 2) if last else pixels
    found = torch.from_numpy(np.array(pixels))
    if found.dtype == torch.uint8:
        return found.float() / 255 * 2 - 1
    need(
        found.is_floating_point(),
        f"{name} has numbers of {found.dtype}: give uint8 pixels or floats in [-1, 1]",
    )
    inside = found.numel() == 0 or bool(((found >= -1.001) & (found <= 1.001)).all())
    need(inside, f"{name} has values outside -1 to 1: rescale them, or give uint8 pixels of 0 to 255")
    return found.float()


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
    """A list of texts; a single one counts as a list of one."""
    return [value] if isinstance(value, str) else value


def slices(value: Any, name: str) -> list[Tensor]:
    """Tensors of single precision, complex or real as what was given, from a list or stack of arrays."""

    def single(array: Array) -> Array:
        return array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)

    return [v if isinstance(v, Tensor) else torch.as_tensor(single(np.asarray(v))) for v in value]


CONVERSIONS: dict[str, Callable[[Any, str], Any]] = {
    "images": images,
    "measured": images,
    "mask": mask,
    "labels": labels,
    "map": maps,
    "scores": numbers,
    "texts": texts,
    "kspace": slices,
    "magnitude": slices,
}
"""By the name of a `Kind`: (what was given, the argument's name) -> what the method takes."""


def _array(value: Any) -> Array:
    """An array, or the pixels of a PIL picture: of gray ones one channel, else RGB."""
    if hasattr(value, "convert"):
        value = on_white(value).convert("L" if value.mode in ("1", "L", "LA") else "RGB")
    return np.asarray(value)


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
