"""Files whose pixels are what was drawn, as masks and label maps must be."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from PIL import Image

from .pictures import FORMATS, Limits, UnreadableError, described, opened

_LOSSLESS = ("PNG", "TIFF")
_DEPTH_AT = 24
"""Where a PNG says how many bits a sample has."""
_BITS = 258
"""The TIFF tag that says so."""


def lossless(
    path: Path, what: str, limits: Limits | None, lossy: bool = False
) -> AbstractContextManager[Image.Image]:
    """`opened` for PNG and TIFF files without JPEG or WebP in them; with `lossy` for these too.

    what: the plural that the error names, of masks with its other way out. Raises UnreadableError.
    """
    try:
        with described(path, FORMATS, limits) as image:
            loses = is_lossy(image) and ("may be" if image.format == "WEBP" else "is")
    except UnreadableError:  # said again, of the formats that are wanted
        loses = False
    if loses and not lossy:
        way = "" if what != "masks" else ", or add --threshold 0.5 (threshold=0.5 in Python)"
        raise UnreadableError(f"{path} {loses} lossy, {what} must be lossless: save as PNG{way}")
    return opened(path, FORMATS if lossy else _LOSSLESS, limits)


def is_lossy(image: Image.Image) -> bool:
    """Whether the pixels of an opened file may differ from those that were saved."""
    return image.format in ("JPEG", "WEBP", "MPO") or image.info.get("compression") in ("jpeg", "webp")


def grey_step(image: Image.Image, path: Path) -> int:
    """How far apart Pillow sets the grey values of a file of 2 or 4 bits a pixel: 85 or 17, else 1."""
    if image.mode != "L":
        return 1
    bits = 8
    if image.format == "PNG":
        with path.open("rb") as file:
            bits = file.read(_DEPTH_AT + 1)[_DEPTH_AT]
    elif image.format == "TIFF":
        bits = dict(getattr(image, "tag_v2", {})).get(_BITS, (8,))[0]
    return 255 // (2**bits - 1) if bits in (2, 4) else 1
