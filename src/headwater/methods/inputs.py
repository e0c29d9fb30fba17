"""What a user may give where a method takes a tensor: NumPy arrays, PIL pictures, lists of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    """Masks bool (B, 1, H, W), of black and white: PIL pictures, arrays (H, W), (B, H, W), (B, 1, H, W)."""
    found = torch.from_numpy(np.array(_stacked(value, name)))
    two = any(set(found.unique().tolist()) <= pair for pair in ({0, 1}, {0, 255}))
    need(
        found.dtype == torch.bool or (found.dtype == torch.uint8 and two),
        f"{name} is no mask of black and white: give bool, or uint8 of 0 and 1 or of 0 and 255",
    )
    return _channelled(found > 0, name)


def labels(value: Any, name: str) -> Tensor:
    """Label maps int64 (B, H, W), from PIL pictures or arrays of whole numbers (H, W) or (B, H, W)."""
    pixels = _stacked(value, name)
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


def _stacked(value: Any, name: str) -> Array:
    """One array, or several of one shape as a batch; a palette or gray picture counts as its numbers."""
    many = list(value) if isinstance(value, list | tuple) else [value]
    found = [
        np.asarray(v.convert("L") if getattr(v, "mode", "L") not in ("1", "L", "P") else v) for v in many
    ]
    need(len({a.shape for a in found}) == 1, f"{name} has parts of different shapes: give all of one size")
    return np.stack(found) if isinstance(value, list | tuple) else found[0]


def _channelled(found: Tensor, name: str) -> Tensor:
    if found.ndim in (2, 3):
        found = found[None, None] if found.ndim == 2 else found[:, None]
    fits = found.ndim == 4 and found.shape[1] == 1
    need(fits, f"{name} has the shape {tuple(found.shape)}: give (H, W), (B, H, W) or (B, 1, H, W)")
    return found
