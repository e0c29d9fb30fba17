"""Magnetic resonance data of the user's own: complex k-space, and pictures in units of their own."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater.errors import need

from .arrays import read_npy, read_volume
from .pictures import Limits, UnreadableError

_HDF5 = (".h5", ".hdf5")
_NIFTI = (".nii", ".nii.gz")
KSPACE = (".npy", *_HDF5)
"""Suffixes of files that hold k-space."""
MAGNITUDE = (*_NIFTI, ".npy", *_HDF5)
"""Suffixes of files that hold magnitude pictures."""
_PICTURES = ("magnitude", "reconstruction_rss", "reconstruction_esc")
"""Datasets of a fastMRI file that hold the fully sampled picture."""


@dataclass(frozen=True)
class Slices:
    """Slices of files, read one at a time.

    Attributes:
        names: the file's path without suffix, and `-00003` for slice 3 of several.
        places: file of each item, and its slice; None where the file holds one slice without a slice axis.
        complex_: whether items are k-space, complex64 (H, W) or (coils, H, W), or else real: pictures (H, W)
            or sinograms (views, detectors), float32.
    """

    names: list[str]
    places: list[tuple[Path, int | None]]
    complex_: bool
    limits: Limits

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> Tensor:
        """One slice. Raises UnreadableError, naming the file, if it is corrupt, of another layout or type, or
        not finite."""
        path, index = self.places[row]
        if _suffix(path) in _NIFTI:
            return _volume(path, self.limits)[index or 0]
        if _suffix(path) in _HDF5:
            array = _hdf5_slice(path, index, self.complex_, self.limits)
        else:
            array = read_npy(path, self.limits)
            _check(path, array.shape, array.dtype, self.complex_)
            array = array if index is None else array[index]
        if not np.isfinite(array).all():
            raise UnreadableError(f"{path} holds values that are not finite: replace them")
        kind = np.complex64 if array.dtype.kind == "c" else np.float32
        return torch.from_numpy(np.ascontiguousarray(array, kind))


def open_kspace(where: Path | str, limits: Limits | None = None) -> Slices:
    """Open complex .npy (H, W) or (coils, H, W), .h5 with `kspace` (slices, [coils,] H, W), a folder; also
    sinograms, real .npy (views, detectors) or (N, views, detectors), where all files are real.

    Raises UnreadableError if nothing of the kind is there. Bad files are found out when they are read.
    """
    return _open(Path(where), KSPACE, True, limits or Limits())


def open_magnitude(where: Path | str, limits: Limits | None = None) -> Slices:
    """Open pictures: NIfTI (axial slices, anterior up), .npy (H, W) or (N, H, W), fastMRI .h5, a folder.

    Raises UnreadableError if nothing of the kind is there. Bad files are found out when they are read.
    """
    return _open(Path(where), MAGNITUDE, False, limits or Limits())


def _open(root: Path, suffixes: Sequence[str], complex_: bool, limits: Limits) -> Slices:
    what = "k-space" if complex_ else "magnitude pictures"
    if not root.exists():
        raise UnreadableError(f"{root} does not exist: check the path")
    if root.is_file() and _suffix(root) not in suffixes:
        raise UnreadableError(f"{root} is no file of {what}: give {' or '.join(suffixes)}")
    found = [root] if root.is_file() else sorted(p for p in root.rglob("*") if _suffix(p) in suffixes)
    paths = [p for p in found if p.is_file() and not p.name.startswith(".")]
    if not paths:
        raise UnreadableError(f"{root} holds no {what} ({', '.join(suffixes)}): check the path")
    complex_ = complex_ and not all(_is_real(path) for path in paths)  # all real: they are sinograms
    names, places = [], []
    for path in paths:
        stem = (path.name if root.is_file() else path.relative_to(root).as_posix())[: -len(_suffix(path))]
        count = _count(path, complex_, limits)
        names += [stem] if count is None else [f"{stem}-{i:05d}" for i in range(count)]
        places += [(path, None)] if count is None else [(path, i) for i in range(count)]
    return Slices(names, places, complex_, limits)


def stack_kspace(
    kspace: Sequence[Tensor], known: Tensor | None, size: tuple[int, int], device: str
) -> tuple[Tensor, Tensor]:
    """Slices (H, W) or (coils, H, W) as one tensor (n, C, H, W), and masks of it, bool (n, 1, H, W).

    known: bool (n or 1, 1, H, W), True = measured; without it, what is not 0 in any coil counts as measured.
    k-space is set to 0 where it is not known.
    Raises UserError for no slices, another size than `size`, slices of different numbers of coils, masks
    that do not fit, or a slice of which nothing was measured.
    """
    need(len(kspace) > 0, "there is no k-space: give at least one slice")
    slices = [k[None] if k.ndim == 2 else k for k in kspace]
    for k in slices:
        need(
            k.is_complex(),
            "what was measured is real, and k-space is complex: save it as complex64, or say by radon "
            "if these are sinograms",
        )
        need(
            k.ndim == 3 and tuple(k.shape[1:]) == size,
            f"k-space is {tuple(k.shape)} of {k.dtype}, this prior draws {size}: crop k-space around its "
            "middle to that size, or take another prior",
        )
    counts = sorted({len(k) for k in slices})
    need(len(counts) == 1, f"slices have {counts} coils: reconstruct those of each number apart")
    y = torch.stack(slices).to(device)
    measured = (y != 0).any(1, keepdim=True)
    if known is not None:
        fits = known.dtype == torch.bool and known.shape[1:] == (1, *size) and len(known) in (1, len(y))
        need(fits, f"the mask is {tuple(known.shape)}: give bool ({len(y)} or 1, 1, {size[0]}, {size[1]})")
        measured = known.to(device).expand(len(y), -1, -1, -1)
    empty = [i + 1 for i, m in enumerate(measured & (y != 0).any(1, keepdim=True)) if not bool(m.any())]
    need(not empty, f"slice {empty[:1]} has nothing measured: leave it out")
    return y * measured, measured


def _is_real(path: Path) -> bool:
    """Whether a file is an .npy of real numbers."""
    try:
        return path.suffix.lower() == ".npy" and np.lib.format.open_memmap(path, mode="r").dtype.kind == "f"
    except (ValueError, OSError, EOFError, SyntaxError):
        return False


def _count(path: Path, complex_: bool, limits: Limits) -> int | None:
    """How many slices a file has; None if it has no slice axis, or cannot be read."""
    try:
        if _suffix(path) in _NIFTI:
            depth = len(_volume(path, limits))
            return None if depth == 1 else depth
        if _suffix(path) in _HDF5:
            with _hdf5(path) as file:
                shape = _dataset(file, path, complex_).shape
        else:
            shape = np.lib.format.open_memmap(path, mode="r").shape
    except (UnreadableError, ValueError, OSError, EOFError, SyntaxError):
        return None
    shape = tuple(int(n) for n in shape)
    sliced = len(shape) > 2 and (_suffix(path) in _HDF5 or not complex_)
    return next(iter(shape)) if sliced else None


@functools.lru_cache(maxsize=1)
def _volume(path: Path, limits: Limits) -> Tensor:
    """Axial slices (Z, Y, X), anterior up; the last volume is kept, as its slices are asked for in turn."""
    return read_volume(path, limits).permute(2, 1, 0).flip(1).contiguous()


def _check(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], complex_: bool) -> None:
    if complex_ and dtype.kind != "c":
        raise UnreadableError(f"{path} holds {dtype}, not complex numbers: save it as complex64")
    if not complex_ and dtype.kind not in "fiu":
        raise UnreadableError(f"{path} holds {dtype}, not real numbers: save magnitudes as float32")
    hdf5 = _suffix(path) in _HDF5
    if not 2 <= len(shape) <= 3 + (hdf5 and complex_) or 0 in shape:
        good = "(H, W) or (coils, H, W)" if complex_ else "(H, W) or (N, H, W)"
        good = "(slices, H, W) or (slices, coils, H, W)" if hdf5 and complex_ else good
        raise UnreadableError(f"{path} has shape {tuple(shape)}: give {good}")


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _hdf5(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise UnreadableError(f"{path} needs h5py: pip install 'headwater[medical]'") from None
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise UnreadableError(f"{path} is no readable HDF5 file ({str(error)[:120]}): replace it") from None


def _dataset(file: Any, path: Path, complex_: bool) -> Any:
    import h5py

    keys = ("kspace",) if complex_ else _PICTURES
    key = next((k for k in keys if isinstance(file.get(k), h5py.Dataset)), None)
    if key is None:
        held = ", ".join(list(file)[:6]) or "nothing"
        raise UnreadableError(f"{path} holds {held}: the dataset must be called {' or '.join(keys)}")
    _check(path, file[key].shape, file[key].dtype, complex_)
    return file[key]


def _hdf5_slice(path: Path, index: int | None, complex_: bool, limits: Limits) -> np.ndarray:
    with _hdf5(path) as file:
        data = _dataset(file, path, complex_)
        shape = data.shape if index is None else data.shape[1:]
        if math.prod(shape) * data.dtype.itemsize > limits.array_bytes:
            raise UnreadableError(f"{path} has slices of shape {shape}, over the limit: crop them")
        try:
            return np.asarray(data[()] if index is None else data[index])
        except (OSError, RuntimeError) as error:
            raise UnreadableError(f"{path} is corrupt ({str(error)[:120]}): replace it") from None
