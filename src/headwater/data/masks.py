"""Masks of the user's own: what is white in a file of two values, and what white means."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from headwater.notes import note

from .arrays import read_npy
from .lossless import grey_step, is_lossy, lossless
from .orientation import Grid, distinct, turned
from .pictures import Limits, UnreadableError, centre_box
from .pixels import grid_of, strips, upright
from .resize import nearest, share

ADVICE = "add --threshold {share:.2g} (threshold={share:.2g} in Python) to take {value:g} and more for white"


def read_mask(
    path: Path | str,
    size: tuple[int, int] | None = None,
    limits: Limits | None = None,
    *,
    threshold: float | None = None,
    turn: int = 1,
) -> Tensor:
    """Read a black-and-white mask: bool (H, W), True where it is white; see `white_of` for what white is.

    Resized to `size` (H, W) with the centre crop of `read_picture`, by majority.

    Args:
        path: PNG, TIFF or .npy; with a threshold also JPEG and WebP.
        size: (H, W) to resize to; None keeps the file's.
        limits: caps on file size and pixels.
        threshold: for masks that are not black and white alone: share of the range from black to white, from
            which on a pixel is white.
        turn: EXIF orientation tag of the picture, 1 to 8, if the mask is drawn on the picture as it is
            stored; a tag of the mask's own is applied anyway.

    Raises:
        UnreadableError: if the file cannot be read, or does not say what is white in it.
    """
    return _share(Path(path), size, limits, threshold, turn) >= 0.5


def read_known(
    path: Path | str,
    size: tuple[int, int] | None = None,
    *,
    white: Literal["known", "hole"],
    limits: Limits | None = None,
    threshold: float | None = None,
    turn: int = 1,
) -> Tensor:
    """Read an inpainting mask: bool (H, W), True where the picture is given.

    A target pixel counts as known only if all of its area is. `white` says what white means, black means the
    opposite; all else is as in `read_mask`.

    Raises:
        UnreadableError: if the file cannot be read, or does not say what is white in it.
        ValueError: if `white` is neither "known" nor "hole".
    """
    if white not in ("known", "hole"):
        raise ValueError(f"white must mean 'known' or 'hole', not {white!r}")
    white_part = _share(Path(path), size, limits, threshold, turn)
    return white_part > 1 - 1e-6 if white == "known" else white_part < 1e-6


def brightness(image: Image.Image, where: str, step: int = 1) -> tuple[Grid, float | None]:
    """How bright each pixel (H, W) of a mask is, and the value that white has in a file of its type.

    Palettes and colours count by their luma. Where the colour is the same everywhere and light, what is
    opaque counts for white, and that is noted. step: how much apart the grey values of the file are at least.
    Raises UnreadableError where two colours are equally bright, or transparency and colour disagree.
    """
    if image.mode == "1":
        return grid_of(image).astype(np.uint8), 1
    if image.mode.startswith("I;16"):
        return grid_of(image), 65535
    if image.mode in ("I", "F"):
        return grid_of(image), None if image.mode == "I" else 1
    if image.mode == "L" and "transparency" not in image.info:
        return grid_of(image) // step, 255 // step
    parts, colours = list[tuple[Grid, Grid]](), set[bytes]()
    for strip in strips(image):
        bright, pixels = np.asarray(strip.convert("RGB").convert("L")), np.asarray(strip.convert("RGBA"))
        parts.append((bright, pixels[..., 3].copy()))
        if len(colours) < 2 and bright.min() == bright.max():
            colours |= _some_colours(pixels)
    luma, alpha = (part[0] if len(part) == 1 else np.concatenate(part) for part in zip(*parts, strict=True))
    if alpha.min() == alpha.max():
        _apart(colours, luma, where)
        return luma, 255
    if luma.min() == luma.max():
        if luma.min() < 128:
            raise UnreadableError(
                f"{where} has one dark colour, and is transparent in parts: save it black and white without "
                "transparency, since the transparent parts may be either"
            )
        note("has one colour: what is opaque is taken for white, what is transparent for black", where)
        return alpha, 255
    if len(distinct((luma.astype(np.uint16) << 8) | alpha)) > 2:
        raise UnreadableError(
            f"{where} has transparent parts and several colours: save it black and white without transparency"
        )
    return luma, 255


def white_of(
    grid: Grid, top: float | None, where: str, threshold: float | None = None, advice: str = ADVICE
) -> Grid:
    """Where a grid of numbers (H, W) is white, bool.

    {0, 1}, {0, white} and one of these alone are black and white. For anything else the threshold decides.
    Without one, two values will do if the lower is 0 or if they lie on both sides of half of `top`, which is
    noted. top: the value of white in files of its type, None if there is none; advice: how to give a
    threshold. Raises UnreadableError where it cannot be told.
    """
    values = distinct(grid)
    low, high = values[0].item(), values[-1].item()
    if isinstance(low, complex) or not np.isfinite(values).all():
        raise UnreadableError(f"{where} holds values that are no finite real numbers: save 0 and 1")
    if len(values) <= 2 and low in (0, high) and high in (0, 1, top or 255):
        if high == 1 and top not in (None, 1) and (low == 1 or threshold is not None):
            note("holds no value but 1, or 0 and 1: 1 is taken for white", where)
        return grid > 0
    found = f"{where} holds {_held(values)}, not black and white alone"
    if threshold is not None:
        return above(grid, top, threshold, where, found)
    sides = top is not None and low < top / 2 <= high
    if len(values) == 2 and (low == 0 or sides):
        note(f"holds {_held(values)}: {high:g} is taken for white", where)
        return grid == high
    if len(values) <= 2 or top is None or low < 0 or high > top:
        raise UnreadableError(f"{found}: save black as 0 and white as {_white(top)}")
    middle = 0.5 if sides else (low + high) / 2 / top
    how = advice.format(share=middle, value=float(f"{middle:.2g}") * top)
    raise UnreadableError(f"{found}: save it so, or {how}")


def above(grid: Grid, top: float | None, threshold: float, where: str, found: str) -> Grid:
    """Where a grid (H, W) is at least the threshold's share of `top`, bool; noted if that is all or nothing.

    found: what the grid holds, for the UnreadableError where it does not lie between 0 and `top`.
    """
    if not 0 < threshold <= 1:
        raise UnreadableError(f"threshold is {threshold:g}: give a share above 0, at most 1")
    if top is None or grid.min() < 0 or grid.max() > top:
        raise UnreadableError(f"{found}: save black as 0 and white as {_white(top)}")
    white = grid >= threshold * top
    if grid.min() < grid.max() and (white.all() or not white.any()):
        note(f"is {'white' if white.all() else 'black'} everywhere at the threshold {threshold:g}", where)
    return white


def _held(values: Grid) -> str:
    low, high = values[0].item(), values[-1].item()
    if len(values) < 3:
        return f"the value {low:g} alone" if low == high else f"the values {low:g} and {high:g}"
    return f"{len(values)} values from {low:g} to {high:g}"


def _white(top: float | None) -> str:
    return "255" if top in (None, 255) else f"1 or {top:g}" if top != 1 else "1"


def _some_colours(pixels: Grid) -> set[bytes]:
    """Colours of RGBA pixels, two at least if there are so many."""
    codes = np.ascontiguousarray(pixels).view(np.uint32)[..., 0] & np.frombuffer(b"\xff\xff\xff\0", np.uint32)
    return {code.tobytes()[:3] for code in np.unique(codes)[:2]}


def _apart(colours: set[bytes], luma: Grid, where: str) -> None:
    """UnreadableError if a picture has two colours or more, and all are equally bright."""
    if luma.min() != luma.max():
        return
    if len(colours) > 1:
        names = " and ".join("#" + colour.hex() for colour in sorted(colours)[:2])
        raise UnreadableError(f"{where} has the colours {names}, equally bright: save it black and white")


def _share(
    path: Path, size: tuple[int, int] | None, limits: Limits | None, threshold: float | None, turn: int
) -> Tensor:
    """Share of white in every target pixel: float64 (H, W) in [0, 1]."""
    loses = False
    if path.suffix.lower() == ".npy":
        grid = read_npy(path, limits, plane=True)
        grid = grid[0] if grid.ndim == 3 and len(grid) == 1 else grid
        if grid.ndim != 2 or grid.size == 0:
            raise UnreadableError(f"{path} has shape {grid.shape}: give a mask of shape (H, W)")
        if grid.dtype.kind not in "biufc":
            raise UnreadableError(f"{path} has type {grid.dtype}: save a mask of 0 and 1")
        grid, top = numbered(grid)
    else:
        with lossless(path, "masks", limits, lossy=threshold is not None) as image:
            step = grey_step(image, path)
            loses = is_lossy(image)
            grid, top = brightness(upright(image), str(path), step)
    if loses and threshold is not None:  # of what a lossy file holds, no value is what was drawn
        white = above(grid, top, threshold, str(path), str(path))
    else:
        white = white_of(grid, top, str(path), threshold)
    mask = torch.from_numpy(turned(white, turn))
    return _boxed(mask, *size) if size else mask.double()


def numbered(grid: Grid) -> tuple[Grid, float | None]:
    """An array of numbers as `white_of` takes it, and the value of white in its type."""
    if grid.dtype.kind == "c" and not grid.imag.any():  # as masks of k-space are stored with it
        grid = grid.real
    if grid.dtype.kind == "b":
        return grid.astype(np.uint8), 1
    if grid.dtype.kind == "u":
        return grid, float(np.iinfo(grid.dtype).max)
    return grid, 1 if grid.dtype.kind == "f" else None


def _boxed(mask: Tensor, height: int, width: int) -> Tensor:
    left, top, right, bottom = centre_box(mask.shape[1], mask.shape[0], width / height)
    mask = mask[top:bottom, left:right]
    if mask.shape[0] >= height and mask.shape[1] >= width:
        return share(mask, height, width)
    return nearest(mask, height, width).double()
