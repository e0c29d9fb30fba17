"""Masks and label maps of the user's own: lossless files, explicit polarity, palette indices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .pictures import Limits, UnreadableError, centre_box, opened
from .resize import area, vote

LOSSLESS = ("PNG", "TIFF")
UNLABELLED = 255


def read_mask(path: Path | str, size: tuple[int, int] | None = None, limits: Limits | None = None) -> Tensor:
    """Read a black-and-white mask: bool (H, W), True where it is white (at least half bright).

    Resized to `size` (H, W) with the centre crop of `read_picture`, by majority.

    Raises:
        UnreadableError: if the file is not a readable PNG or TIFF.
    """
    return _share(path, size, limits) >= 0.5


def read_known(
    path: Path | str,
    size: tuple[int, int] | None = None,
    *,
    white: Literal["known", "hole"],
    limits: Limits | None = None,
) -> Tensor:
    """Read an inpainting mask: bool (H, W), True where the picture is given.

    A target pixel counts as known only if all of its area is.

    Args:
        path: PNG or TIFF; white means what `white` says, black the opposite.
        size: (H, W) to resize to; None keeps the file's.
        white: the meaning of white.
        limits: caps on file size and pixels.

    Raises:
        UnreadableError: if the file is not a readable PNG or TIFF.
        ValueError: if `white` is neither "known" nor "hole".
    """
    if white not in ("known", "hole"):
        raise ValueError(f"white must mean 'known' or 'hole', not {white!r}")
    share = _share(path, size, limits)
    return share > 1 - 1e-6 if white == "known" else share < 1e-6


def read_labels(
    path: Path | str,
    size: tuple[int, int] | None = None,
    *,
    classes: int | None = None,
    limits: Limits | None = None,
) -> Tensor:
    """Read a label map: int64 (H, W), the class of every pixel, -1 where it is unlabelled (255).

    Of an index-coloured file the palette index counts, of a gray file the gray value. Resized to
    `size` (H, W) with the centre crop of `read_picture`, by majority vote.

    Raises:
        UnreadableError: if the file is not a readable PNG or TIFF, has colours without a palette,
            or names a class >= `classes`.
    """
    with _lossless(path, limits) as image:
        if image.mode not in ("P", "L", "1", "I;16"):
            raise UnreadableError(f"{path} has mode {image.mode}: save an index-coloured PNG")
        labels = torch.from_numpy(np.asarray(image).astype(np.int64))
    labels = torch.where(labels == UNLABELLED, -1, labels)
    if classes is not None and int(labels.max()) >= classes:
        raise UnreadableError(f"{path} has label {int(labels.max())}: use 0 to {classes - 1}")
    return _resized_labels(labels, size) if size else labels


def _share(path: Path | str, size: tuple[int, int] | None, limits: Limits | None) -> Tensor:
    """Share of white in every target pixel: float64 (H, W) in [0, 1]."""
    with _lossless(path, limits) as image:
        if image.mode.startswith("I;16"):
            white = np.asarray(image) >= 32768
        elif image.mode in ("P", "PA", "L", "LA", "1", "RGB", "RGBA"):
            white = np.asarray(image.convert("L")) >= 128
        else:
            raise UnreadableError(f"{path} has mode {image.mode}: save a black-and-white PNG")
    mask = torch.from_numpy(white).double()
    return _boxed(mask, *size, grow=True) if size else mask


def _lossless(path: Path | str, limits: Limits | None):
    """`opened` for files whose pixels are what was drawn."""
    path = Path(path)
    try:
        with Image.open(path) as image:
            lossy = image.format in ("JPEG", "WEBP", "MPO") or image.info.get("compression") in (
                "jpeg",
                "webp",
            )
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning):
        lossy = False
    if lossy:
        raise UnreadableError(f"{path} is lossy, masks must be lossless: save as PNG")
    return opened(path, LOSSLESS, limits)


def _boxed(mask: Tensor, height: int, width: int, *, grow: bool) -> Tensor:
    left, top, right, bottom = centre_box(mask.shape[1], mask.shape[0], width / height)
    mask = mask[top:bottom, left:right]
    if mask.shape[0] >= height and mask.shape[1] >= width:
        return area(mask, height, width)
    return _nearest(mask, height, width)


def _resized_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    left, top, right, bottom = centre_box(labels.shape[1], labels.shape[0], size[1] / size[0])
    labels = labels[top:bottom, left:right]
    if labels.shape[0] >= size[0] and labels.shape[1] >= size[1]:
        # Shifted by one, so that unlabelled pixels vote too and lose ties.
        return vote(labels + 1, *size) - 1
    return _nearest(labels, *size)


def _nearest(grid: Tensor, height: int, width: int) -> Tensor:
    rows = ((torch.arange(height) + 0.5) * grid.shape[0] / height).long()
    columns = ((torch.arange(width) + 0.5) * grid.shape[1] / width).long()
    return grid[rows][:, columns]
