"""What a decoded picture holds: planes of numbers, transparency and colour spaces being resolved."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from headwater.notes import note

from .levels import UnreadableError, answer

_PHOTOMETRIC = 262
"""The tag of TIFF that says what the values mean; 0 is white at 0."""
_STRIP = 1 << 21
"""Pixels of a part of a picture."""
_KEPT = "headwater"
"""Under which a picture's `info`, which copies share, keeps what decoding forgets."""
_DEEP = ("I", "F")
"""Modes of one channel with 32 bits; those of 16 bits begin with I;16."""
_STANDARD = ("srgb", "iec61966", "iec 61966", "c2", "urgb")
"""What descriptions of colour profiles hold if the colours are those of a screen."""


@dataclass(frozen=True)
class Stored:
    """What a file says of its pixels, and Pillow forgets when it decodes or copies them."""

    deep: bool = False
    """Whether a channel has more than 8 bits."""
    inverted: bool = False
    """Whether its low values are white."""
    lossless: bool = True


def remember(image: Image.Image) -> Stored:
    """What the file of a picture says of its pixels, found before it is decoded and kept with it."""
    if _KEPT not in image.info:
        raw = "".join(str(tile[3]) for tile in getattr(image, "tile", []))
        image.info[_KEPT] = Stored(
            ";16" in raw,
            getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0,
            image.format not in ("JPEG", "MPO", "WEBP"),
        )
    return image.info[_KEPT]


@dataclass(frozen=True)
class Pixels:
    """The planes of a picture (H, W) as stored: one of any type if it is gray and deep, else of 8 bits."""

    planes: Sequence[np.ndarray[Any, Any]]
    inverted: bool = False
    """Whether its low values are white."""
    lossless: bool = True
    spared: bool = False
    """Whether only the upper 8 of its 16 bits were decoded."""


def pixels_of(image: Image.Image, where: str, channels: int) -> Pixels:
    """A decoded picture in 1 (gray) or 3 (RGB) planes of 8 bits, or one plane of what 16 and 32 bits it has.

    Transparent pixels are laid on white. Colour profiles are not applied: what differs is noted.

    Raises:
        UnreadableError: if it has more bits a channel than are decoded, and they cannot be spared.
    """
    stored = remember(image)
    if is_deep(image):
        values, clear = grid_of(image), image.info.get("transparency")
        if isinstance(clear, int):  # white of the same type
            values = np.where(values == clear, np.iinfo(values.dtype).max, values).astype(values.dtype)
        return Pixels([values], stored.inverted, stored.lossless)
    _say_profile(image, where)
    mode = "L" if channels == 1 else "RGB"
    planes = list[np.ndarray[Any, Any]]()
    top = 0
    for part in strips(image):
        bands = [np.asarray(band) for band in on_white(_screen(part, where)).convert(mode).split()]
        if part is image:
            planes = bands
            break
        planes = planes or [np.empty((image.height, image.width), np.uint8) for _ in bands]
        for plane, band in zip(planes, bands, strict=True):
            plane[top : top + len(band)] = band
        top += len(bands[0])
    if stored.deep:
        _check_spare(planes, where)
    return Pixels(planes, lossless=stored.lossless, spared=stored.deep)


def turned(image: Image.Image) -> Image.Image:
    """The picture as it is seen: its orientation tag is applied."""
    remember(image)
    return upright(image)


def upright(image: Image.Image) -> Image.Image:
    """The same, whatever it is for; one that is not turned is given back, not copied."""
    tag = image.getexif().get(ExifTags.Base.Orientation, 1)
    return ImageOps.exif_transpose(image) if tag in range(2, 9) else image


def grid_of(image: Image.Image) -> np.ndarray[Any, Any]:
    """The numbers of a picture as NumPy reads them, (H, W) or (H, W, bands), of a large one part by part."""
    grid, top = None, 0
    for part in strips(image):
        numbers = np.asarray(part)
        if part is image:
            return numbers
        grid = np.empty((image.height, *numbers.shape[1:]), numbers.dtype) if grid is None else grid
        grid[top : top + len(numbers)] = numbers
        top += len(numbers)
    assert grid is not None
    return grid


def is_deep(image: Image.Image) -> bool:
    """Whether it is gray with more than 8 bits, so that its mode does not say what is white."""
    return image.mode in _DEEP or image.mode.startswith("I;16")


def is_gray(image: Image.Image) -> bool:
    """Whether it has no colours."""
    return is_deep(image) or image.mode in ("1", "L", "LA", "La")


def strips(image: Image.Image) -> Iterator[Image.Image]:
    """A picture in parts from top to bottom: what is made of one on the way takes little memory."""
    step = max(1, _STRIP // image.width)
    if image.height <= step:
        yield image
        return
    for top in range(0, image.height, step):
        yield image.crop((0, top, image.width, min(top + step, image.height)))


def on_white(image: Image.Image) -> Image.Image:
    """The picture with what is transparent laid on white; others as they are."""
    if image.mode not in ("LA", "PA", "RGBA", "La", "RGBa") and "transparency" not in image.info:
        return image
    image = image.convert("LA") if image.mode == "La" else image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _screen(image: Image.Image, where: str) -> Image.Image:
    """The same picture in a mode that Pillow converts to RGB."""
    if image.mode != "LAB":
        return image
    try:
        lab, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        found = ImageCms.profileToProfile(image, lab, screen, outputMode="RGB")
    except (ImportError, ImageCms.PyCMSError, ValueError) as error:
        raise UnreadableError(
            f"{where} has Lab colours, which cannot be converted ({error}): save RGB"
        ) from None
    assert found is not None  # only in place nothing is returned
    return found


def _say_profile(image: Image.Image, where: str) -> None:
    """Note colours of another space than a screen's, which are read as if they were a screen's."""
    profile = image.info.get("icc_profile")
    if not profile or is_gray(image) or image.mode == "LAB":
        return
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (ImportError, ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return
    if not any(word in name.lower() for word in _STANDARD):
        note(
            f"has colours of the profile {name!r}, which are read as sRGB; convert it if that matters", where
        )


def _check_spare(planes: Sequence[np.ndarray[Any, Any]], where: str) -> None:
    top = max(int(plane.max()) for plane in planes)
    if top < 16:
        raise UnreadableError(
            f"{where} has 16-bit colours, but none reaches a 16th of 65535, and 8 of 16 bits are decoded: "
            f"save it as a uint16 array (.npy), and {answer()}"
        )
    note("has 16 bits a channel, of which the upper 8 are used", where)
