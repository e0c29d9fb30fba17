"""Magnetic resonance data of the user's own: complex k-space, and pictures in units of their own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater.limits import raised
from headwater.notes import note

from . import hdf5
from .arrays import npy_header, read_npy, read_npz
from .listing import files_below, suffix_of
from .nifti import is_volume, read_volume
from .pictures import Limits, UnreadableError
from .stacking import out_of_range
from .volumes import Volume

_NIFTI = (".nii", ".nii.gz", ".hdr")
KSPACE = (".npy", ".npz", *hdf5.SUFFIXES)
"""Suffixes of files that hold k-space."""
MAGNITUDE = (*_NIFTI, ".npy", *hdf5.SUFFIXES)
"""Suffixes of files that hold magnitude pictures."""
_COILS = 32
"""Coils that a scanner has at most, or about that many."""
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
        empty: whether k-space of which nothing was measured is an item like others, or unreadable.
    """

    names: list[str]
    places: list[tuple[Path, int | None]]
    complex_: bool
    limits: Limits
    empty: bool = True

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> Tensor:
        """One slice. Raises UnreadableError, naming the file, if it is corrupt, of another layout or type,
        not finite, or empty."""
        path, index = self.places[row]
        if suffix_of(path) in _NIFTI:
            return _volume(path, self.limits)[index or 0]
        if suffix_of(path) in hdf5.SUFFIXES:
            with hdf5.opened(path) as file:
                data = hdf5.dataset(file, path, self._names)
                _check(path, data.shape, data.dtype, self.complex_)
                array = hdf5.read(data, index, path, self.limits)
        else:
            array = _array(path, self.limits)
            _check(path, array.shape, array.dtype, self.complex_)
            array = array if index is None else array[index]
        return self._single(array, path if index is None else f"slice {index} of {path}")

    @property
    def _names(self) -> tuple[str, ...]:
        return ("kspace",) if self.complex_ else _PICTURES

    def _single(self, array: np.ndarray, where: Path | str) -> Tensor:
        """A slice of single precision. UnreadableError where that cannot hold it."""
        if self.complex_ and array.dtype.kind != "c":
            array = _whole(array, where)
        double = np.complex128 if array.dtype.kind == "c" else np.float64
        with np.errstate(invalid="ignore"):
            exact = torch.from_numpy(np.ascontiguousarray(array, double))
        if wrong := out_of_range(exact):
            raise UnreadableError(f"{where} {wrong}")
        if self.complex_ and not self.empty and not bool((exact != 0).any()):
            raise UnreadableError(f"{where} is 0 everywhere, so that nothing was measured: leave it out")
        return exact.to(torch.complex64 if exact.is_complex() else torch.float32)

    def affine(self, row: int) -> np.ndarray | None:
        """From voxel (column, row from the last one up, slice) of an item to millimetres, (4, 4): of volumes
        as their file says, of k-space its voxel size alone; None where the file does not say it."""
        path, index = self.places[row]
        if suffix_of(path) in _NIFTI:
            return _volume_read(path, self.limits).of_slices(index or 0, index or 0).affine
        size = hdf5.voxel_size(path) if suffix_of(path) in hdf5.SUFFIXES else None
        return None if size is None else np.diag([size[1], size[0], size[2], 1.0])


def open_kspace(where: Path | str, limits: Limits | None = None, *, empty: bool = True) -> Slices:
    """Open complex .npy (H, W) or (coils, H, W), .npz with one such array or one called `kspace` or `maps`,
    .h5 with `kspace` (slices, [coils,] H, W), a folder; also
    sinograms, real .npy (views, detectors) or (N, views, detectors), where all files are real. Real numbers
    whose last axis is 2 long are taken for real and imaginary part, which a note says.

    Raises UnreadableError if nothing of the kind is there. Bad files are found out when they are read.
    """
    return replace(_open(Path(where), KSPACE, True, limits or Limits()), empty=empty)


def open_magnitude(where: Path | str, limits: Limits | None = None) -> Slices:
    """Open pictures: NIfTI (axial slices, anterior up), .npy (H, W) or (N, H, W), fastMRI .h5, a folder.

    Raises UnreadableError if nothing of the kind is there. Bad files are found out when they are read.
    """
    return _open(Path(where), MAGNITUDE, False, limits or Limits())


def _open(root: Path, suffixes: Sequence[str], complex_: bool, limits: Limits) -> Slices:
    what = "k-space" if complex_ else "magnitude pictures"
    if not root.exists():
        raise UnreadableError(f"{root} does not exist: check the path")
    if complex_ and root.is_file() and is_volume(root):
        raise UnreadableError(
            f"{root} is a NIfTI file, which holds pictures: save k-space as complex .npy; that of a complex "
            "picture is Fourier('centred').forward of headwater.operators"
        )
    if root.is_file() and suffix_of(root) not in suffixes:
        raise UnreadableError(f"{root} is no file of {what}: give {' or '.join(suffixes)}")
    paths = [root] if root.is_file() else files_below(root, suffixes)
    if not paths:
        raise UnreadableError(f"{root} holds no {what} ({', '.join(suffixes)}): check the path")
    complex_ = complex_ and not all(_is_real(path) for path in paths)  # all real: they are sinograms
    names, places = [], []
    for path in paths:
        stem = (path.name if root.is_file() else path.relative_to(root).as_posix())[: -len(suffix_of(path))]
        count = _count(path, complex_, limits)
        if (count or 1) + len(names) > limits.items:
            raise UnreadableError(
                f"{root} holds more than {limits.items} slices: give fewer, or {raised('items')}"
            )
        names += [stem] if count is None else [f"{stem}-{i:05d}" for i in range(count)]
        places += [(path, None)] if count is None else [(path, i) for i in range(count)]
    return Slices(names, places, complex_, limits)


def _is_real(path: Path) -> bool:
    """Whether a file is an .npy of real numbers that are no halves of complex ones."""
    if suffix_of(path) != ".npy":
        return False
    try:
        shape, dtype = npy_header(path)
    except UnreadableError:
        return False
    return dtype.kind == "f" and not _is_halves(shape, dtype)


def _array(path: Path, limits: Limits | None = None) -> np.ndarray:
    """The array of an .npy file, or of an .npz that holds one, or one called `kspace` or `maps`."""
    if suffix_of(path) != ".npz":
        return read_npy(path, limits)
    held = read_npz(path, limits)
    named = [name for name in ("kspace", "maps") if name in held] or list(held)
    if len(named) != 1:
        what = f"the arrays {', '.join(held)}" if held else "no array"
        raise UnreadableError(
            f"{path} holds {what}: give a file with one array, or call the one that is meant kspace or maps"
        )
    return held[named[0]]


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an .npy or .npz file. UnreadableError, naming it, if it has none."""
    if suffix_of(path) == ".npz":
        array = _array(path)
        return array.shape, array.dtype
    return npy_header(path)


def _count(path: Path, complex_: bool, limits: Limits) -> int | None:
    """How many slices a file has; None if it has no slice axis, or cannot be read."""
    try:
        if suffix_of(path) in _NIFTI:
            depth = len(_volume(path, limits))
            return None if depth == 1 else depth
        if suffix_of(path) in hdf5.SUFFIXES:
            with hdf5.opened(path) as file:
                data = hdf5.dataset(file, path, ("kspace",) if complex_ else _PICTURES)
                shape, dtype = data.shape, data.dtype
        else:
            shape, dtype = _header(path)
        _check(path, shape, dtype, complex_)
    except UnreadableError:
        return None
    whole = _shape(shape, dtype, complex_)
    sliced = len(whole) > 2 and (suffix_of(path) in hdf5.SUFFIXES or not complex_)
    return next(iter(whole)) if sliced else None


@functools.lru_cache(maxsize=1)
def _volume(path: Path, limits: Limits) -> Tensor:
    """Axial slices (Z, Y, X), anterior up; the last volume is kept, as its slices are asked for in turn."""
    return _volume_read(path, limits).values.permute(2, 1, 0).flip(1).contiguous()


@functools.lru_cache(maxsize=1)
def _volume_read(path: Path, limits: Limits) -> Volume:
    return read_volume(path, limits)


def _check(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], complex_: bool) -> None:
    if complex_ and dtype.kind != "c" and not _is_halves(shape, dtype):
        raise UnreadableError(f"{path} holds {dtype}, not complex numbers: save it as complex64")
    if not complex_ and dtype.kind not in "fiu":
        raise UnreadableError(f"{path} holds {dtype}, not real numbers: save magnitudes as float32")
    whole, in_hdf5 = _shape(shape, dtype, complex_), suffix_of(path) in hdf5.SUFFIXES
    if not 2 <= len(whole) <= 3 + (in_hdf5 and complex_) or 0 in whole:
        good = "(H, W) or (coils, H, W)" if complex_ else "(H, W) or (N, H, W)"
        good = "(slices, H, W) or (slices, coils, H, W)" if in_hdf5 and complex_ else good
        raise UnreadableError(f"{path} has shape {tuple(shape)}: give {good}")
    if complex_ and len(whole) > 2 and whole[-1] <= _COILS and 2 * whole[-1] <= min(whole[-3:-1]):
        good = "(slices, coils, H, W)" if in_hdf5 else "(coils, H, W)"
        raise UnreadableError(
            f"{path} has shape {tuple(shape)}, which looks like {whole[-1]} coils or slices on the last "
            f"axis: save it as {good}, such as np.moveaxis(k, -1, -3)"
        )


def _is_halves(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether real numbers look like the real and imaginary parts of complex ones."""
    if dtype.fields is None:
        return dtype.kind == "f" and len(shape) > 2 and shape[-1] == 2
    # One after the other without gaps: HDF5 crashes on damaged types whose parts overlap.
    parts = [(part[0].str, part[1]) for part in dtype.fields.values()]
    size = dtype.itemsize // 2
    return parts in ([(f"{order}f{size}", 0), (f"{order}f{size}", size)] for order in "<>")


def _shape(shape: tuple[int, ...], dtype: np.dtype[Any], complex_: bool) -> tuple[int, ...]:
    """The shape of the complex numbers, or of the real ones where these are meant."""
    halves = complex_ and dtype.kind == "f" and _is_halves(shape, dtype)
    return tuple(int(n) for n in (shape[:-1] if halves else shape))


def _whole(array: np.ndarray, where: Path | str) -> np.ndarray:
    """Complex numbers of real and imaginary parts: two fields, or a last axis of 2."""
    names = array.dtype.names
    if names is None:
        note("holds real numbers: the two of its last axis are taken for real and imaginary part", where)
        return array[..., 0] + 1j * array[..., 1]
    note(f"holds pairs ({', '.join(names)}): taken for real and imaginary part", where)
    return array[names[0]] + 1j * array[names[1]]
