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
from PIL import Image
from torch import Tensor

from headwater.errors import UserError
from headwater.notes import note

from .formats import FOREIGN, named
from .levels import UnreadableError, Window, black_and_white
from .listing import files_below, suffix_of
from .pixels import Pixels, is_gray, pixels_of, remember, turned

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff")
_DATA = (".pdf", ".hdr", ".npy", ".npz", ".nii", ".nii.gz", ".mat", ".h5")
"""Suffixes of data that lie in a folder of pictures by accident, or await conversion."""

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

    Hidden files and folders, and those of systems and programs, are left out. Pictures of other formats are
    left out too, and said to be, unless one of the same name is there.

    Raises:
        UserError: if the folder is missing, is no folder, or holds no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give one that holds pictures")
    every = files_below(root, (*SUFFIXES, *FOREIGN, *_DATA))
    found = [path for path in every if suffix_of(path) in SUFFIXES]
    have = {_bare(path) for path in found}
    left = [path.relative_to(root).as_posix() for path in every if _bare(path) not in have]
    named = ", ".join(left[:3]) + (" ..." if len(left) > 3 else "")
    if not found:
        what = f"but {named}: convert them" if left else "check the path"
        raise UserError(f"{root} holds no PNG, JPEG, WebP or TIFF picture{',' if left else ':'} {what}")
    if left:
        note(f"files of other formats were left out ({len(left)}): {named}", root)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


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


def read_picture(
    path: Path | str, shape: tuple[int, int, int], limits: Limits | None = None, window: Window | None = None
) -> Tensor:
    """Read one picture as float32 (C, H, W) in [-1, 1].

    The largest centred region with the aspect of H x W is resized: by area averaging when it
    shrinks, bicubically when it grows. Orientation tags are applied, transparency is laid on
    white, gray becomes RGB or RGB gray (Rec. 601 luma) as C asks. 16-bit gray keeps its depth.

    Args:
        path: a PNG, JPEG, WebP or TIFF file; the content decides, not the suffix.
        shape: (C, H, W) with C 1 or 3.
        limits: caps on file size and pixels.
        window: the values of the file that become black and white, what lies beyond is cut; None
            takes them from the type of its pixels where that says it.

    Raises:
        UnreadableError: if the file is missing, too large, of another format, corrupt, has
            several pages, or pixels of which nobody can know which are black and white.
        UserError: if the window is none.
        ValueError: if `shape` is not a picture's.
    """
    channels, height, width = shape
    if channels not in (1, 3) or height < 1 or width < 1:
        raise ValueError(f"a picture has shape (1 or 3, height, width), not {shape}")
    with opened(path, FORMATS, limits) as image:
        found = pixels_of(turned(image), str(path), channels)
        low, high = levels_of(found, str(path), window)
        planes = [_fitted(Image.fromarray(p), height, width) for p in found.cut(window and (low, high))]
    # Of whole ranges the black is 0, and a quotient alone gives what it always gave.
    unit = torch.from_numpy(np.stack([(p - low if low else p) / (high - low) for p in planes])).clamp(0, 1)
    unit = 1 - unit if found.inverted else unit
    return (unit if len(unit) == channels else unit.repeat(channels, 1, 1)) * 2 - 1


def levels_of(found: Pixels, where: str, window: Window | None) -> Window:
    """The values that are black and white in a decoded picture, found or asked for by `black_and_white`."""
    if found.spared and window is not None and window != (0, 65535):
        raise UnreadableError(
            f"{where} has 16-bit colours, of which 8 bits are decoded, too few for a window: save it as a "
            "uint16 array (.npy)"
        )
    window = None if found.spared else window
    levels = black_and_white(np.stack(found.planes), where, window, lossless=found.lossless)
    if found.inverted and window is not None:
        note("says that its low values are white, so the window's low end is white", where)
    return levels


def picture_shape(path: Path | str, limits: Limits | None = None) -> tuple[int, int, int]:
    """Channels, height and width of one picture as it is seen: with its orientation tag applied.

    Raises:
        UnreadableError: as `read_picture`.
    """
    with opened(path, FORMATS, limits) as image:
        seen = turned(image)
        return (1 if is_gray(seen) else 3, seen.height, seen.width)


@contextmanager
def opened(path: Path | str, formats: tuple[str, ...], limits: Limits | None = None) -> Iterator[Image.Image]:
    """A decoded single-page picture after every check; decoder failures become UnreadableError."""
    path, limits = Path(path), limits or Limits()
    if not path.is_file():
        what = "is a folder: give a file" if path.is_dir() else "does not exist: check the path"
        raise UnreadableError(f"{path} {what}")
    if path.stat().st_size > limits.file_bytes:
        raise UnreadableError(
            f"{path} has {path.stat().st_size} bytes, more than {limits.file_bytes}: shrink it"
        )
    try:
        with warnings.catch_warnings():
            # Odd metadata is no reason to refuse a picture; a decompression bomb is.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A file and not its path: Pillow maps files with a path, and turned TIFF come out scrambled.
            with path.open("rb") as file, Image.open(file, formats=formats) as image:
                if image.width * image.height > limits.pixels:
                    raise UnreadableError(
                        f"{path} has {image.width}x{image.height} pixels, more than"
                        f" {limits.pixels}: shrink it"
                    )
                _one_frame(image, path)
                remember(image)
                image.load()
                yield image
    except UnreadableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"{path} is larger than a picture may be: shrink it") from None
    except Image.UnidentifiedImageError:
        raise UnreadableError(f"{path} {named(path, formats)}") from None
    except BROKEN as error:
        raise UnreadableError(f"{path} is corrupt ({_short(error)}): replace it") from None


def centre_box(width: int, height: int, aspect: float) -> tuple[int, int, int, int]:
    """Largest centred (left, top, right, bottom) with width / height close to `aspect`."""
    w = max(1, min(width, round(height * aspect)))
    h = max(1, min(height, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _bare(path: Path) -> str:
    """The path without its suffix."""
    return str(path)[: -len(suffix_of(path))]


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


def _one_frame(image: Image.Image, path: Path) -> None:
    """Raise UnreadableError for several pictures in one file.

    Of a multi-picture JPEG the first one is the photo; phones put a preview, a depth or a gain map behind it.
    """
    count = getattr(image, "n_frames", 1)
    if image.format == "MPO":
        if _second_is_as_large(image):
            note(
                "holds several pictures of one size, as cameras with two lenses make: the first is used", path
            )
    elif count > 1:
        what = "pages" if image.format == "TIFF" else "frames"
        raise UnreadableError(f"{path} holds several pictures ({count} {what}): save them one by one")


def _second_is_as_large(image: Image.Image) -> bool:
    size = image.size
    try:
        image.seek(1)
        return image.size == size
    except BROKEN:
        return False
    finally:
        image.seek(0)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
