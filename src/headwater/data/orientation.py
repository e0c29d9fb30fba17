"""How a picture lies in its file: the size it is stored at, and the orientation tag that turns it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags

from .arrays import npy_header
from .pictures import UnreadableError, described

Grid = np.ndarray[Any, Any]

_UNTURNED = 1
_SWAPPING = (5, 6, 7, 8)
"""Orientation tags that make rows of columns."""
_HOLDS_TAGS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Parts of a PNG in which programs write an orientation tag."""


@dataclass(frozen=True)
class Layout:
    """The size that a file stores a picture or mask at, and the EXIF orientation that viewers turn it by."""

    stored: tuple[int, int]
    """Height and width."""
    tag: int = _UNTURNED
    """1 to 8, 1 for none."""

    @property
    def turned(self) -> bool:
        """Whether the picture is seen otherwise than it is stored."""
        return self.tag != _UNTURNED

    @property
    def seen(self) -> tuple[int, int]:
        """Height and width as viewers show it, and as `read_picture` reads it."""
        height, width = self.stored
        return (width, height) if self.tag in _SWAPPING else self.stored


def layout_of(path: Path) -> Layout | None:
    """How the picture or .npy array of a file lies, without decoding it; None where that cannot be said."""
    try:
        if path.suffix.lower() == ".npy":
            shape, _ = npy_header(path)
            return Layout((shape[-2], shape[-1])) if len(shape) > 1 else None
        with described(path) as image:
            # Pillow decodes a PNG to look for tags behind its pixels: do so only where there may be some.
            plain = image.format == "PNG" and not _holds_tags(path)
            tag = _UNTURNED if plain else image.getexif().get(ExifTags.Base.Orientation, _UNTURNED)
            tag = tag if tag in range(1, 9) else _UNTURNED
            found = Layout((image.height, image.width), tag)
            # Of a TIFF Pillow gives the size as it is seen.
            return Layout(found.seen, tag) if image.format == "TIFF" else found
    except UnreadableError:
        return None  # whoever reads the file says why


def distinct(grid: Grid) -> Grid:
    """What NumPy's `unique` finds in a grid, of small types without a sorted copy."""
    if grid.dtype not in (np.uint8, np.uint16):
        return np.unique(grid)
    there, flat = np.zeros(1 << 8 * grid.itemsize, bool), grid.reshape(-1)
    for start in range(0, len(flat), 1 << 20):
        there[flat[start : start + (1 << 20)]] = True
    return np.flatnonzero(there).astype(grid.dtype)


def _holds_tags(path: Path) -> bool:
    """Whether a PNG may have an orientation tag."""
    longest, end = max(map(len, _HOLDS_TAGS)) - 1, b""
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            if any(tag in end + part for tag in _HOLDS_TAGS):
                return True
            end = part[-longest:]
    return False


def turned(grid: Grid, tag: int) -> Grid:
    """A grid (H, W) as it is seen, of one that is stored with this EXIF orientation tag."""
    if tag in _SWAPPING:
        grid = grid.T
    # What is left to do after the transposition, if there is one.
    rows, columns = tag in (3, 4, 7, 8), tag in (2, 3, 6, 7)
    return np.ascontiguousarray(grid[:: -1 if rows else 1, :: -1 if columns else 1])
