"""Pictures of the user's own: a closed list of formats, limits before decoding, named errors."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from headwater.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")

# What Pillow and its decoders are known to raise on broken files.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)


class UnreadableError(UserError):
    """One input file that cannot be used; the sentence names it."""


@dataclass(frozen=True)
class Limits:
    """What an input file may cost, checked before anything of that size is allocated."""

    file_bytes: int = 512 * 1024**2
    """Largest file on disk, in bytes."""
    pixels: int = 64_000_000
    """Largest picture, width x height. Pillow itself refuses more than 89 million."""
    array_bytes: int = 4 * 1024**3
    """Largest decoded array, in bytes."""


def list_pictures(folder: Path | str) -> list[Path]:
    """Every PNG, JPEG, WebP and TIFF file below a folder, in the order of relative paths.

    Hidden files and folders are left out.

    Raises:
        UserError: if the folder is missing, is no folder, or holds no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give one that holds pictures")
    found = []
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            found.append((relative.as_posix(), path))
    if not found:
        raise UserError(f"{root} holds no PNG, JPEG, WebP or TIFF picture: check the path")
    return [path for _, path in sorted(found)]


def list_pairs(pictures: Path | str, companions: Path | str) -> list[tuple[Path, Path]]:
    """Pictures and their masks or label maps: the files with the same relative path and stem.

    Pictures without a companion are left out, so that few labels for many pictures are fine.

    Raises:
        UserError: if a folder is missing or empty, a companion belongs to no picture, or two
            files differ in their suffix only.
    """
    left = _by_stem(Path(pictures))
    right = _by_stem(Path(companions))
    stray = sorted(right.keys() - left.keys())
    if stray:
        raise UserError(f"{right[stray[0]]} belongs to no picture in {pictures}: rename or move it")
    return [(left[stem], right[stem]) for stem in sorted(right)]


def read_picture(path: Path | str, shape: tuple[int, int, int], limits: Limits | None = None) -> Tensor:
    """Read one picture as float32 (C, H, W) in [-1, 1].

    The largest centred region with the aspect of H x W is resized: by area averaging when it
    shrinks, bicubically when it grows. Orientation tags are applied, transparency is laid on
    white, gray becomes RGB or RGB gray (Rec. 601 luma) as C asks. 16-bit gray keeps its depth.

    Args:
        path: a PNG, JPEG, WebP or TIFF file; the content decides, not the suffix.
        shape: (C, H, W) with C 1 or 3.
        limits: caps on file size and pixels.

    Raises:
        UnreadableError: if the file is missing, too large, of another format, corrupt, or has
            several pages.
        ValueError: if `shape` is not a picture's.
    """
    channels, height, width = shape
    if channels not in (1, 3) or height < 1 or width < 1:
        raise ValueError(f"a picture has shape (1 or 3, height, width), not {shape}")
    with opened(path, FORMATS, limits) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F"):
            raise UnreadableError(f"{path} has 32-bit pixels of unknown range: use an .npy file")
        if image.mode.startswith("I;16"):
            planes = [_fitted(_sixteen(image), height, width) / 65535] * channels
        else:
            target = "L" if channels == 1 else "RGB"
            image = on_white(image).convert(target)
            # Bands are resized one by one in float, so that averages are not rounded to 8 bits.
            planes = [_fitted(b.convert("F"), height, width) / 255 for b in image.split()]
    return torch.from_numpy(np.stack(planes)).clamp(0, 1) * 2 - 1


@contextmanager
def opened(path: Path | str, formats: tuple[str, ...], limits: Limits | None = None) -> Iterator[Image.Image]:
    """A decoded single-page picture after every check; decoder failures become UnreadableError."""
    path, limits = Path(path), limits or Limits()
    if not path.is_file():
        raise UnreadableError(f"{path} does not exist: check the path")
    if path.stat().st_size > limits.file_bytes:
        raise UnreadableError(
            f"{path} has {path.stat().st_size} bytes, more than {limits.file_bytes}: shrink it"
        )
    try:
        with warnings.catch_warnings():
            # Odd metadata is no reason to refuse a picture; a decompression bomb is.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                if image.width * image.height > limits.pixels:
                    raise UnreadableError(
                        f"{path} has {image.width}x{image.height} pixels, more than"
                        f" {limits.pixels}: shrink it"
                    )
                if getattr(image, "n_frames", 1) > 1:
                    raise UnreadableError(f"{path} holds several pictures: save them one by one")
                image.load()
                yield image
    except UnreadableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"{path} is larger than a picture may be: shrink it") from None
    except Image.UnidentifiedImageError:
        names = ", ".join(formats)
        raise UnreadableError(f"{path} is not a {names} file: convert it") from None
    except BROKEN as error:
        raise UnreadableError(f"{path} is corrupt ({_short(error)}): replace it") from None


def centre_box(width: int, height: int, aspect: float) -> tuple[int, int, int, int]:
    """Largest centred (left, top, right, bottom) with width / height close to `aspect`."""
    w = max(1, min(width, round(height * aspect)))
    h = max(1, min(height, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _by_stem(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in list_pictures(root):
        stem = path.relative_to(root).with_suffix("").as_posix()
        if stem in found:
            raise UserError(f"{path} and {found[stem].name} have one name: rename or remove one")
        found[stem] = path
    return found


def _fitted(plane: Image.Image, height: int, width: int) -> np.ndarray:
    box = centre_box(plane.width, plane.height, width / height)
    shrinks = box[2] - box[0] >= width and box[3] - box[1] >= height
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(plane.resize((width, height), how, box=box), dtype=np.float32)


def _sixteen(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.float32))


def on_white(image: Image.Image) -> Image.Image:
    """The picture with what is transparent laid on white; others as they are."""
    if image.mode not in ("LA", "PA", "RGBA", "La", "RGBa") and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
