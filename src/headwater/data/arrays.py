"""Arrays of the user's own: headers are checked before anything is allocated."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from headwater.limits import raised
from headwater.notes import note

from .layout import batch_of
from .levels import Window, answer, black_and_white, check_window, digits
from .pictures import Limits, UnreadableError, unpacking

_HEADER = 10_000
"""Most bytes of the header of an .npy file, as NumPy has it too."""
_BROKEN = (
    *(OSError, ValueError, EOFError, SyntaxError, MemoryError, RecursionError, RuntimeError, TypeError),
    *(OverflowError, tokenize.TokenError),
)
"""What NumPy raises on broken files."""


def read_npy(path: Path | str, limits: Limits | None = None, *, plane: bool = False) -> np.ndarray:
    """Read an .npy file of numbers.

    plane: whether it is a mask, label map or the like, which holds no more numbers than a picture has pixels.

    Raises:
        UnreadableError: if the file is missing, corrupt, holds objects, or is over the limits.
    """
    path, limits = checked(path, limits)
    try:
        with path.open("rb") as file:
            shape, _ = _check_header(file, str(path), limits, path.stat().st_size)
            if plane and math.prod(shape) > limits.pixels:
                raise UnreadableError(
                    f"{path} has shape {shape}, more numbers than a picture may have pixels, "
                    f"{limits.pixels}: shrink it, or {raised('pixels')}"
                )
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except UnreadableError:
        raise
    except _BROKEN as error:
        raise corrupt(path, error) from None


def npy_header(path: Path | str, limits: Limits | None = None) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an .npy file, of which nothing else is read. UnreadableError as of `read_npy`."""
    path, limits = checked(path, limits)
    try:
        with path.open("rb") as file:
            return _check_header(file, str(path), limits, path.stat().st_size)
    except UnreadableError:
        raise
    except _BROKEN as error:
        raise corrupt(path, error) from None


def read_npz(path: Path | str, limits: Limits | None = None) -> dict[str, np.ndarray]:
    """Read every array of an .npz file; `limits.array_bytes` holds for all of them together.

    Raises:
        UnreadableError: if the file is missing, corrupt, holds objects, or is over the limits.
    """
    path, limits = checked(path, limits)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            total, size = sum(member.file_size for member in members), path.stat().st_size
            if total > limits.array_bytes:
                raise UnreadableError(f"{path} unpacks to more than {limits.array_bytes} bytes")
            if not limits.unpacks(total, size):
                raise UnreadableError(unpacking(path, total, size, limits))
            for member in members:
                label = f"{path}[{member.filename}]"
                with archive.open(member) as file:
                    _check_header(file, label, limits, member.file_size)
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                found[member.filename.removesuffix(".npy")] = array
    except UnreadableError:
        raise
    except (*_BROKEN, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        raise corrupt(path, error) from None
    if not found:
        raise UnreadableError(f"{path} holds no array: save one called images")
    return found


def picture_stack(
    array: np.ndarray, where: str, window: Window | None = None, *, channels: int = 0
) -> Tensor:
    """Turn an array of pictures into float32 (N, C, H, W) in [-1, 1], C 1 or 3, or another that is wanted.

    Args:
        array: axes as `batch_of` reads them, and values as `black_and_white` does: unsigned integers
            count from black 0 to white at the largest value of their type, bool is black and white,
            floats lie in [-1, 1], or in [0, 1] if none is negative by more than rounding. A fourth
            channel is opacity; the colours are laid on white.
        where: the name that errors use.
        window: the values that become black and white, for others.
        channels: how many are wanted, 0 if that is not known: 1 decides what (3, H, W) is; of another number
            than 1 and 3 the array has four axes, the second or the last of that length, and no opacity.

    Raises:
        UnreadableError: if shape, type or range is another, or means two things.
        UserError: if the window is none.
    """
    if array.dtype.kind not in "buif":
        raise UnreadableError(f"{where} has type {array.dtype}: use uint8 or float32")
    plain = channels not in (0, 1, 3)
    array = _measured(array, where, channels) if plain else batch_of(array, where, channels == 1)
    low, high = black_and_white(array, where, window)
    pixels = array if window is None else array.clip(low, high)
    tensor = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
    tensor = tensor if low == -1 and high == 1 else (tensor - low if low else tensor) * (2 / (high - low)) - 1
    tensor = tensor.clamp(-1, 1)
    if plain or array.shape[1] < 4:
        return tensor
    if low != 0 or high not in (1, 255, 65535):
        raise UnreadableError(
            f"{where} has 4 channels and no opacity from 0 to 1: lay the pictures on white first"
        )
    opacity = (tensor[:, 3:] + 1) / 2
    return tensor[:, :3] * opacity + 1 - opacity


def _measured(array: np.ndarray, where: str, channels: int) -> np.ndarray:
    """An array of pictures of so many channels as (N, C, H, W), a view."""
    fits = [axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] == channels and array.size]
    if len(fits) != 1:
        raise UnreadableError(
            f"{where} has shape {array.shape}, where pictures of {channels} channels are wanted: save "
            f"(N, {channels}, H, W)"
        )
    return np.moveaxis(array, fits[0], 1)


def axial_slices(volume: Tensor, window: Window | None = None, where: str = "the volume") -> Tensor:
    """Slices of a volume (X, Y, Z) as pictures (Z, 1, Y, X) in [-1, 1], anterior up.

    With a window (low, high) these values become black and white, and what lies beyond is cut. Without one
    the 99.5th percentile of the positive values becomes white, zero and what is barely below become black.

    where: the name that sentences use.

    Raises:
        UnreadableError: without a window, if values are clearly negative, as in CT.
        UserError: if the window is none.
    """
    low, high = grey_range(volume, window, where)
    unit = ((volume - low if low else volume) / (high - low)).clamp(0, 1).permute(2, 1, 0).flip(1)
    return (unit * 2 - 1)[:, None].contiguous()


def grey_range(volume: Tensor, window: Window | None, where: str) -> tuple[float, float]:
    """The values of a volume that become black and white. Raises as `axial_slices`."""
    if check_window(window) is None:
        return 0.0, _white(volume, where)
    return black_and_white(volume.numpy(), where, window)


def _white(volume: Tensor, where: str) -> float:
    """What becomes white in a volume of which nobody said it."""
    positive, low = volume[volume > 0], float(volume.min())
    top = float(np.quantile(positive.numpy(), 0.995)) if len(positive) else 1.0
    if low < 0 and (low < -0.1 * top or not len(positive)):
        raise UnreadableError(
            f"{where} goes from {digits(low)} to {digits(float(volume.max()))}, in units of its own: say "
            f"which values become black and white, {answer()}"
        )
    if low < 0:
        note("has a few values just below 0, which become black", where)
    if len(positive):
        note(
            "has units of its own: 0 is black and its 99.5th percentile white; --window LOW HIGH says it",
            where,
        )
    return top


def checked(path: Path | str, limits: Limits | None) -> tuple[Path, Limits]:
    """A path and its limits, after the file's size. UnreadableError if it is missing or too large."""
    path, limits = Path(path), limits or Limits()
    if not path.is_file():
        raise UnreadableError(f"{path} does not exist: check the path")
    if path.stat().st_size > limits.array_bytes:
        raise UnreadableError(f"{path} has more than {limits.array_bytes} bytes: split it")
    return path, limits


def _check_header(
    file: IO[bytes], label: str, limits: Limits, available: int
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array, after all that its header says has been compared with what follows it."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise UnreadableError(f"{label} has .npy version {version}: save it with numpy again")
    start = file.read(2 * version[0])
    if int.from_bytes(start, "little") > _HEADER:
        raise UnreadableError(f"{label} has a header too large to be true: get another copy")
    shape, _, dtype = read(io.BytesIO(start + file.read(_HEADER)))
    if dtype.hasobject or dtype.kind not in "buifcUS":
        raise UnreadableError(f"{label} holds {dtype}, not numbers: save a numeric array")
    if min(shape, default=0) < 0:
        raise UnreadableError(f"{label} has shape {shape}, which no array has: get another copy")
    size = math.prod(shape) * dtype.itemsize
    if size > limits.array_bytes:
        raise UnreadableError(f"{label} needs {size} bytes, over the limit: split it")
    if size > available:
        raise UnreadableError(f"{label} is cut short: its header promises {size} bytes")
    return shape, dtype


def corrupt(path: Path, error: BaseException) -> UnreadableError:
    """The sentence for a file whose reading failed with `error`."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:120]
    return UnreadableError(f"{path} is corrupt ({reason}): replace it")
