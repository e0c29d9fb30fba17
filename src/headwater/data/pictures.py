"""Pictures of the user's own: a closed list of formats, limits before decoding, named errors."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from headwater.errors import UserError
from headwater.limits import Limits, raised
from headwater.notes import note

from . import webp
from .bands import band_sizes, read_bands
from .formats import FOREIGN, named
from .levels import UnreadableError, Window, black_and_white
from .listing import files_below, suffix_of
from .pixels import Pixels, is_gray, pixels_of, remember, turned

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff")
_DATA = (".pdf", ".hdr", ".npy", ".npz", ".nii", ".nii.gz", ".mat", ".h5")
"""Suffixes of data that lie in a folder of pictures by accident, or await conversion."""

_STRIP = 1 << 21
"""Pixels that are worked on at once, of pictures that have more."""
_BYTES = {"1": 1, "L": 1, "P": 1, "LA": 4, "PA": 4, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes of a pixel in Pillow's memory, by the picture's mode; 4 in all others."""

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
    path: Path | str,
    shape: tuple[int, int, int],
    limits: Limits | None = None,
    window: Window | None = None,
    bands: Sequence[int] = (),
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
        bands: of a TIFF of more than four bands those to read, counted from 1, one for each channel; other
            files have none to choose from.

    Raises:
        UnreadableError: if the file is missing, too large, of another format, corrupt, has
            several pages, or pixels of which nobody can know which are black and white.
        UserError: if the window is none.
        ValueError: if `shape` is not a picture's.
    """
    channels, height, width = shape
    if channels not in (1, 3) and min(shape) >= 1:
        raise UserError(
            f"{path}: a picture in a file has 1 or 3 channels, not {channels}: give an .npz with an array "
            f"`images`, (N, {channels}, H, W)"
        )
    if min(shape) < 1:
        raise ValueError(f"a picture has shape (1 or 3, height, width), not {shape}")
    found = _decoded(Path(path), channels, limits, bands)
    low, high = levels_of(found, str(path), window)
    planes = [_fitted(plane, height, width, window and (low, high)) for plane in found.planes]
    # Of whole ranges the black is 0, and a quotient alone gives what it always gave.
    unit = torch.from_numpy(np.stack([(p - low if low else p) / (high - low) for p in planes])).clamp(0, 1)
    unit = 1 - unit if found.inverted else unit
    return (unit if len(unit) == channels else unit.repeat(channels, 1, 1)) * 2 - 1


def _decoded(path: Path, channels: int, limits: Limits | None, bands: Sequence[int]) -> Pixels:
    if band_sizes(path) is not None:
        return Pixels(read_bands(path, bands, channels, (limits or Limits()).array_bytes))
    if bands:
        note("has no bands to choose from: its colours are read", path)
    with opened(path, FORMATS, limits) as image:
        plain = image.mode in ("1", "L") and "transparency" not in image.info
        return pixels_of(turned(image), str(path), 1 if plain else channels)


def levels_of(found: Pixels, where: str, window: Window | None) -> Window:
    """The values that are black and white in a decoded picture, found or asked for by `black_and_white`."""
    if found.spared and window is not None and window != (0, 65535):
        raise UnreadableError(
            f"{where} has 16-bit colours, of which 8 bits are decoded, too few for a window: save it as a "
            "uint16 array (.npy)"
        )
    window = None if found.spared else window
    values = found.planes[0]
    if len(found.planes) > 1 and values.dtype != np.uint8:  # bands of a scene
        values = np.stack(found.planes)
    elif len(found.planes) > 1:  # of 8 bits no more is asked than how far they go
        ends = [end for plane in found.planes for end in (plane.min(), plane.max())]
        values = np.array(ends, np.uint8)
    levels = black_and_white(values, where, window, lossless=found.lossless)
    if found.inverted and window is not None:
        note("says that its low values are white, so the window's low end is white", where)
    return levels


def picture_shape(path: Path | str, limits: Limits | None = None) -> tuple[int, int, int]:
    """Channels, height and width of one picture as it is seen: with its orientation tag applied.

    Raises:
        UnreadableError: as `read_picture`.
    """
    if (sizes := band_sizes(Path(path))) is not None:
        return (3, *sizes[1:])
    with opened(path, FORMATS, limits) as image:
        seen = turned(image)
        return (1 if is_gray(seen) else 3, seen.height, seen.width)


@contextmanager
def described(
    path: Path | str, formats: tuple[str, ...] = FORMATS, limits: Limits | None = None
) -> Iterator[Image.Image]:
    """A picture of which only the header has been read, after every check that needs no more.

    Nothing but the decoders of these formats sees the file. Failures become UnreadableError.
    """
    path, limits = Path(path), limits or Limits()
    if not path.is_file():
        what = "is a folder: give a file" if path.is_dir() else "does not exist: check the path"
        raise UnreadableError(f"{path} {what}")
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise UnreadableError(
            f"{path} has {size} bytes, more than {limits.file_bytes}: shrink it, or {raised('file_bytes')}"
        )
    try:
        with warnings.catch_warnings():
            # Odd metadata is no reason to refuse a picture; a decompression bomb is.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A file and not its path: Pillow maps files with a path, and turned TIFF come out scrambled.
            with path.open("rb") as file:
                _check_webp(file.read(webp.START), size, path, limits)
                file.seek(0)
                with Image.open(file, formats=formats) as image:
                    _check_size(image, size, path, limits)
                    yield image
    except UnreadableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"{path} is larger than a picture may be: shrink it") from None
    except Image.UnidentifiedImageError:
        raise UnreadableError(f"{path} {named(path, formats)}") from None
    except PermissionError:
        raise UnreadableError(f"{path} may not be read: check its permissions") from None
    except BROKEN as error:
        raise UnreadableError(f"{path} is corrupt ({_short(error)}): replace it") from None


@contextmanager
def opened(path: Path | str, formats: tuple[str, ...], limits: Limits | None = None) -> Iterator[Image.Image]:
    """A decoded single-page picture after every check; decoder failures become UnreadableError."""
    with described(path, formats, limits) as image:
        _one_frame(image, Path(path))
        remember(image)
        image.load()
        yield image


def _check_size(image: Image.Image, size: int, path: Path, limits: Limits) -> None:
    """UnreadableError for more pixels than a picture may have, or many more bytes than its file has."""
    if image.width * image.height > limits.pixels:
        raise UnreadableError(
            f"{path} has {image.width}x{image.height} pixels, more than {limits.pixels}: shrink it, or "
            f"{raised('pixels')}"
        )
    unpacked = image.width * image.height * _BYTES.get(image.mode, 4)
    if not limits.unpacks(unpacked, size):
        raise UnreadableError(unpacking(path, unpacked, size, limits))


def _check_webp(start: bytes, size: int, path: Path, limits: Limits) -> None:
    """The same of a WebP file, before it is opened: its decoder keeps two pictures of four bytes a pixel."""
    found = webp.size_of(start)
    if found is not None and not limits.unpacks(8 * found[0] * found[1], size):
        raise UnreadableError(unpacking(path, 8 * found[0] * found[1], size, limits))


def unpacking(path: Path, unpacked: int, size: int, limits: Limits) -> str:
    """The sentence for a file that unpacks to much more than itself."""
    return (
        f"{path} has {size} bytes and unpacks to {unpacked}, more than {limits.packed} times as many: use "
        f"another copy, or {raised('packed')}"
    )


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


def _fitted(plane: np.ndarray, height: int, width: int, window: Window | None) -> np.ndarray:
    """A plane (H, W) of numbers in float32, cut to a window, its centre resized to (height, width)."""
    rows, columns = plane.shape
    box = centre_box(columns, rows, width / height)
    shrinks = box[2] - box[0] >= width and box[3] - box[1] >= height
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    step = max(1, _STRIP // columns)

    def strip(top: int, bottom: int) -> Image.Image:
        values = np.asarray(plane[top:bottom], dtype=np.float32)
        return Image.fromarray(values if window is None else values.clip(*window))

    if rows <= step or not shrinks:  # a large picture is not made larger still
        return np.asarray(strip(0, rows).resize((width, height), how, box=box), dtype=np.float32)
    # Pillow resizes along rows first, into numbers of the same type: so strips are resized so, then all.
    narrow = np.empty((rows, width), np.float32)
    for top in range(0, rows, step):
        bottom = min(top + step, rows)
        part = strip(top, bottom).resize((width, bottom - top), how, box=(box[0], 0, box[2], bottom - top))
        narrow[top:bottom] = np.asarray(part)
    whole = Image.fromarray(narrow).resize((width, height), how, box=(0, box[1], width, box[3]))
    return np.asarray(whole, dtype=np.float32)


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
