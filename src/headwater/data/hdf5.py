"""Datasets of HDF5 files: nothing outside a file is read, and nothing allocated that it only declares."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .pictures import Limits, UnreadableError

SUFFIXES = (".h5", ".hdf5")
_DENSEST = 1100
"""HDF5's own compression packs at most so many bytes into one."""
_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py raises on damaged files."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open for reading. UnreadableError, naming it, if it is damaged."""
    try:
        import h5py
    except ImportError:
        raise UnreadableError(f"{path} needs h5py: pip install 'headwater[medical]'") from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UnreadableError:
        raise
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise UnreadableError(f"{path} is no readable HDF5 file ({reason[:120]}): replace it") from None


def dataset(file: Any, path: Path, names: Sequence[str]) -> Any:
    """The first dataset of these names that the file has itself.

    UnreadableError if there is none, it points to another file, or declares more than the file can hold.
    """
    import h5py

    for name in names:
        link = file.get(name, getlink=True) if name in file else None
        outside = isinstance(link, h5py.ExternalLink)
        found = None if outside or link is None else file.get(name)
        if isinstance(found, h5py.Dataset):
            outside = found.file.filename != file.filename or bool(found.external) or found.is_virtual
        if outside:
            raise UnreadableError(f"{path} points to another file for {name}: put the data into it")
        if isinstance(found, h5py.Dataset):
            return _possible(found, path, name)
    held = ", ".join(list(file)[:6]) or "nothing"
    raise UnreadableError(f"{path} holds {held}: the dataset must be called {' or '.join(names)}")


def read(data: Any, index: int | None, path: Path, limits: Limits) -> np.ndarray:
    """A dataset, or one slice of it. UnreadableError if that is over the limits."""
    shape = data.shape if index is None else data.shape[1:]
    if math.prod(shape) * data.dtype.itemsize > limits.array_bytes:
        raise UnreadableError(f"{path} has slices of shape {shape}, over the limit: crop them")
    return np.asarray(data[()] if index is None else data[index])


def voxel_size(path: Path) -> tuple[float, float, float] | None:
    """Millimetres from one row, column and slice to the next by the file's ISMRMRD header; None without."""
    with opened(path) as file:
        held = file.get("ismrmrd_header")
        text = held[()] if held is not None and held.shape in ((), (1,)) else b""
    text = text[0] if isinstance(text, np.ndarray) and text.shape else text
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    space = re.search(r"<encodedSpace>(.{0,4000}?)</encodedSpace>", text, re.DOTALL)
    if space is None:
        return None
    found = []
    for axis in "xyz":
        length, points = (_number(space[1], part, axis) for part in ("fieldOfView_mm", "matrixSize"))
        found.append(length / points if length > 0 and points > 0 else 0.0)
    return (found[0], found[1], found[2]) if min(found) > 0 else None


def _number(text: str, part: str, axis: str) -> float:
    found = re.search(rf"<{part}>.{{0,400}}?<{axis}>\s*([0-9.eE+-]+)\s*</{axis}>", text, re.DOTALL)
    try:
        value = float(found[1]) if found else 0.0
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _possible(data: Any, path: Path, name: str) -> Any:
    """The dataset, unless it has no shape, no values, or more of them than the file can hold."""
    if data.shape is None or 0 in data.shape:
        raise UnreadableError(f"{path} holds an empty {name}: write its values into it")
    declared = math.prod(data.shape) * data.dtype.itemsize
    stored = data.id.get_storage_size()
    if declared > _DENSEST * (stored + 64):
        raise UnreadableError(
            f"{path} declares {name} of shape {data.shape}, {declared} bytes, and holds {stored} bytes of "
            "it: write its values into it"
        )
    return data
