"""Tensors as pictures: PNG data URIs that need no file beside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from headwater.report.colour import Bytes, categorical, diverging, sequential


@dataclass(frozen=True)
class Heat:
    """A map of non-negative values (H,W) or (1,H,W): shown dark to bright between `low` and `high`.

    Leave `high` out to stretch to the map's own largest value; give it where maps are compared.
    """

    values: Tensor
    low: float = 0.0
    high: float | None = None


@dataclass(frozen=True)
class Signed:
    """A map of signed values (H,W) or (1,H,W): blue below zero, red above, white at zero."""

    values: Tensor
    limit: float | None = None


@dataclass(frozen=True)
class Classes:
    """A label map, integer (H,W) or (1,H,W), one colour per class; negative labels are black."""

    labels: Tensor
    count: int
    palette: tuple[tuple[int, int, int], ...] = ()
    """Red, green and blue, 0 to 255, of the first classes."""


Cell = Tensor | Heat | Signed | Classes | None


@dataclass(frozen=True)
class Picture:
    """An encoded picture: `uri` is a PNG data URI; `width` and `height` are its pixels."""

    uri: str
    width: int
    height: int


def _plane(values: Tensor, what: str) -> np.ndarray:
    array = values.detach().cpu()
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise ValueError(f"Give a {what} of shape (H,W) or (1,H,W), not {tuple(values.shape)}.")
    return array.double().numpy() if array.is_floating_point() else array.numpy()


def _lookup(fraction: np.ndarray, table: Bytes) -> Bytes:
    safe = np.nan_to_num(fraction, nan=0.0, posinf=1.0, neginf=0.0)
    return table[np.round(np.clip(safe, 0.0, 1.0) * 255).astype(np.int64)]


def _image_bytes(image: Tensor) -> Bytes:
    pixels = image.detach().cpu()
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ValueError(
            f"Give a picture of shape (1,H,W) or (3,H,W), not {tuple(image.shape)}; "
            "wrap maps in Heat, Signed or Classes."
        )
    if pixels.dtype == torch.bool:
        coded = pixels.to(torch.uint8) * 255
    elif pixels.dtype == torch.uint8:
        coded = pixels
    elif pixels.is_floating_point():
        finite = torch.nan_to_num(pixels.float(), nan=0.0, posinf=1.0, neginf=-1.0)
        coded = ((finite.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    else:
        raise ValueError("Wrap integer label maps in Classes(labels, count) to show them.")
    array = coded.numpy()
    return array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))


def pixels(cell: Tensor | Heat | Signed | Classes) -> Bytes:
    """The cell as bytes (H,W) or (H,W,3).

    Float tensors (1|3,H,W) are images in [-1, 1] (values outside are clipped, NaN is mid-grey);
    bool tensors are masks, white where True; uint8 tensors are shown as they are.
    """
    if isinstance(cell, Heat):
        plane = _plane(cell.values, "map").astype(np.float64)
        top = float(np.nanmax(plane, initial=cell.low)) if cell.high is None else cell.high
        return _lookup((plane - cell.low) / max(top - cell.low, 1e-12), sequential())
    if isinstance(cell, Signed):
        plane = _plane(cell.values, "map").astype(np.float64)
        own = float(np.nanmax(np.abs(plane), initial=0.0))
        limit = own if cell.limit is None else cell.limit
        return _lookup(np.nan_to_num(plane) / max(2 * limit, 1e-12) + 0.5, diverging())
    if isinstance(cell, Classes):
        plane = _plane(cell.labels, "label map").astype(np.int64)
        table = categorical(cell.count).copy()
        table[: len(cell.palette)] = np.array(cell.palette[: len(table)], np.uint8).reshape(-1, 3)
        return np.where((plane < 0)[..., None], np.uint8(0), table[np.maximum(plane, 0) % len(table)])
    return _image_bytes(cell)


def picture(cell: Tensor | Heat | Signed | Classes) -> Picture:
    """Encode `cell` (see `pixels`) as a lossless PNG data URI."""
    array = pixels(cell)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=array.size < 1 << 20)
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/png;base64,{code}", array.shape[1], array.shape[0])
