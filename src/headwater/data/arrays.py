"""Arrays and volumes of the user's own: headers are checked before anything is allocated."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from .pictures import Limits, UnreadableError


def read_npy(path: Path | str, limits: Limits | None = None) -> np.ndarray:
    """Read an .npy file of numbers.

    Raises:
        UnreadableError: if the file is missing, corrupt, holds objects, or is over the limits.
    """
    path, limits = _checked(path, limits)
    try:
        with path.open("rb") as file:
            _check_header(file, str(path), limits, path.stat().st_size)
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except UnreadableError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise _corrupt(path, error) from None


def read_npz(path: Path | str, limits: Limits | None = None) -> dict[str, np.ndarray]:
    """Read every array of an .npz file; `limits.array_bytes` holds for all of them together.

    Raises:
        UnreadableError: if the file is missing, corrupt, holds objects, or is over the limits.
    """
    path, limits = _checked(path, limits)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            if sum(member.file_size for member in members) > limits.array_bytes:
                raise UnreadableError(f"{path} unpacks to more than {limits.array_bytes} bytes")
            for member in members:
                label = f"{path}[{member.filename}]"
                with archive.open(member) as file:
                    _check_header(file, label, limits, member.file_size)
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                found[member.filename.removesuffix(".npy")] = array
    except UnreadableError:
        raise
    except (
        *(OSError, ValueError, EOFError, SyntaxError, MemoryError, RuntimeError),
        *(NotImplementedError, zipfile.BadZipFile, zlib.error),
    ) as error:
        raise _corrupt(path, error) from None
    if not found:
        raise UnreadableError(f"{path} holds no array: save one called images")
    return found


def picture_stack(array: np.ndarray, where: str) -> Tensor:
    """Turn an array of pictures into float32 (N, C, H, W) in [-1, 1].

    Args:
        array: (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3. Unsigned integers count from
            black 0 to white at the largest value of their type, bool is black and white, floats
            lie in [-1, 1], or in [0, 1] if none is negative.
        where: the name that errors use.

    Raises:
        UnreadableError: if shape, type or range is another.
    """
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[-1] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise UnreadableError(f"{where} has shape {array.shape}: use (N, H, W) or (N, H, W, 3)")
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if array.dtype == np.bool_:
        return tensor * 2 - 1
    if array.dtype.kind == "u":
        return tensor * (2 / float(np.iinfo(array.dtype).max)) - 1
    if array.dtype.kind != "f":
        raise UnreadableError(f"{where} has type {array.dtype}: use uint8 or float32")
    low, high = float(tensor.min()), float(tensor.max())
    if not (math.isfinite(low) and math.isfinite(high) and low >= -1 and high <= 1):
        raise UnreadableError(f"{where} ranges from {low:g} to {high:g}: scale it to [-1, 1]")
    return tensor * 2 - 1 if low >= 0 else tensor


def read_volume(path: Path | str, limits: Limits | None = None) -> Tensor:
    """Read a NIfTI volume as float32 (X, Y, Z) in its own units, axes to right, anterior, superior.

    Raises:
        UnreadableError: if the file is missing, corrupt, not three-dimensional, over the limits,
            or nibabel is not installed.
    """
    path, limits = _checked(path, limits)
    try:
        import nibabel
    except ImportError:
        raise UnreadableError(f"{path} needs nibabel: pip install 'headwater[medical]'") from None
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):
            raise UnreadableError(f"{path} is not a NIfTI file: convert it")
        full = tuple(image.shape)
        shape = tuple(n for i, n in enumerate(full) if i < 3 or n != 1)
        if len(shape) != 3 or min(shape) < 1:
            raise UnreadableError(f"{path} has shape {full}: give one volume a file")
        if math.prod(shape) * 8 > limits.array_bytes:
            raise UnreadableError(f"{path} has shape {shape}, over the limit: crop or shrink it")
        image = nibabel.as_closest_canonical(image)
        volume = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    except UnreadableError:
        raise
    except Exception as error:
        # nibabel has no common base for what its readers raise on broken files.
        raise _corrupt(path, error) from None
    if not np.isfinite(volume).all():
        raise UnreadableError(f"{path} holds values that are not finite: replace them")
    return torch.from_numpy(np.ascontiguousarray(volume))


def axial_slices(volume: Tensor) -> Tensor:
    """Slices of a volume (X, Y, Z) as pictures (Z, 1, Y, X) in [-1, 1], anterior up.

    The 99.5th percentile of the positive values becomes white, zero and below black.
    """
    positive = volume[volume > 0]
    top = float(np.quantile(positive.numpy(), 0.995)) if len(positive) else 1.0
    unit = (volume / top).clamp(0, 1).permute(2, 1, 0).flip(1)
    return (unit * 2 - 1)[:, None].contiguous()


def _checked(path: Path | str, limits: Limits | None) -> tuple[Path, Limits]:
    path, limits = Path(path), limits or Limits()
    if not path.is_file():
        raise UnreadableError(f"{path} does not exist: check the path")
    if path.stat().st_size > limits.array_bytes:
        raise UnreadableError(f"{path} has more than {limits.array_bytes} bytes: split it")
    return path, limits


def _check_header(file: IO[bytes], label: str, limits: Limits, available: int) -> None:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise UnreadableError(f"{label} has .npy version {version}: save it with numpy again")
    shape, _, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "buifcUS":
        raise UnreadableError(f"{label} holds {dtype}, not numbers: save a numeric array")
    size = math.prod(shape) * dtype.itemsize
    if size > limits.array_bytes:
        raise UnreadableError(f"{label} needs {size} bytes, over the limit: split it")
    if size > available:
        raise UnreadableError(f"{label} is cut short: its header promises {size} bytes")


def _corrupt(path: Path, error: BaseException) -> UnreadableError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:120]
    return UnreadableError(f"{path} is corrupt ({reason}): replace it")
