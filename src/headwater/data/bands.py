"""Pictures of many bands, as satellites take them: TIFF files, of which chosen bands become the channels."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .formats import format_of
from .levels import UnreadableError

FEW = 4
"""A picture of more samples a pixel has bands, not colours with transparency."""
_WIDTH, _HEIGHT, _BITS, _SAMPLES = 256, 257, 258, 277
"""Tags of TIFF."""


def band_sizes(path: Path) -> tuple[int, int, int] | None:
    """Bands, height and width of a TIFF of more than four bands, from its header; None for other files."""
    if not path.is_file() or format_of(path) != "TIFF":
        return None
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to refuse a picture
            head = file.read(8)
            tags: Any = ImageFileDirectory_v2(head + file.read(8 if 43 in head[2:4] else 0))  # BigTIFF
            file.seek(tags.next)
            tags.load(file)
        found = int(tags.get(_SAMPLES, 1)), int(tags[_HEIGHT]), int(tags[_WIDTH])
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, OverflowError, struct.error):
        return None  # what is wrong with it is said by whoever decodes it
    return found if found[0] > FEW else None


def read_bands(path: Path, bands: Sequence[int], channels: int, bytes_: int) -> list[np.ndarray[Any, Any]]:
    """The chosen bands (H, W) of a TIFF that has many, as stored; they are counted from 1.

    bytes_: how large the decoded file may be. Raises UnreadableError where the choice is missing or does not
    fit, or the file cannot be decoded.
    """
    count, height, width = band_sizes(path) or (0, 0, 0)
    if not bands:
        raise UnreadableError(
            f"{path} has {count} bands: say which {channels} to read, counted from 1, in the order of the "
            f"channels (red, green, blue), such as --bands {'3 2 1' if channels == 3 else '4'} "
            f"(in Python bands=({'3, 2, 1' if channels == 3 else '4,'}))"
        )
    if len(bands) != channels or not all(1 <= band <= count for band in bands):
        said = " ".join(map(str, bands))
        raise UnreadableError(
            f"{path} has {count} bands, and bands are {said}: give {channels} from 1 to {count}"
        )
    try:
        import tifffile
    except ImportError:
        raise UnreadableError(f"{path} needs tifffile: pip install 'headwater[tiff]'") from None
    if count * height * width * 8 > bytes_:
        raise UnreadableError(
            f"{path} is {height} x {width} with {count} bands, more than is read: cut it up"
        )
    try:
        stored = np.asarray(tifffile.imread(path, key=0))
    except Exception as error:  # its decoders raise whatever they like
        said = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise UnreadableError(f"{path} cannot be decoded ({said}): save it without compression") from None
    if stored.shape == (count, height, width):
        stored = stored.transpose(1, 2, 0)
    if stored.shape != (height, width, count):
        raise UnreadableError(f"{path} has bands of shape {stored.shape}: save one page with all bands")
    return [np.ascontiguousarray(stored[..., band - 1]) for band in bands]
