"""Datasets of HDF5 files: nothing outside a file is read, and nothing allocated that it only declares."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .pictures import Limits, UnreadableError, unpacking

SUFFIXES = (".h5", ".hdf5")
_DENSEST = 1100
"""HDF5's own compression packs at most so many bytes into one."""
_LINKS = 16
"""Most links from a name to its data."""
_LONGEST = 1 << 24
"""Bytes of a header that is looked at."""
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
        found = _own(file, path, name)
        if isinstance(found, h5py.Dataset):
            return _possible(found, path, name)
    held = ", ".join(itertools.islice(file, 6)) or "nothing"
    raise UnreadableError(f"{path} holds {held}: the dataset must be called {' or '.join(names)}")


def _own(file: Any, path: Path, name: str) -> Any:
    """What the file itself holds under a name; None if that is nothing.

    Links are followed by hand, so that no other file is opened. UnreadableError for one that leads to another
    file, and for data that lie in one.
    """
    import h5py

    outside = UnreadableError(f"{path} points to another file for {name}: put the data into it")
    group: Any = file
    left, steps = [part for part in name.split("/") if part], 0
    while left:
        steps += 1
        part = left.pop(0)
        link = group.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise outside
        if link is None or steps > _LINKS:
            return None
        if isinstance(link, h5py.SoftLink):
            group = file if link.path.startswith("/") else group
            left = [part for part in link.path.split("/") if part not in ("", ".")] + left
            continue
        group = group[part]
        if left and not isinstance(group, h5py.Group):
            return None
    if isinstance(group, h5py.Dataset) and (bool(group.external) or group.is_virtual):
        raise outside
    return group


def read(data: Any, index: int | None, path: Path, limits: Limits) -> np.ndarray:
    """A dataset, or one slice of it. UnreadableError if that is over the limits."""
    shape = data.shape if index is None else data.shape[1:]
    size = math.prod(shape) * data.dtype.itemsize
    if size > limits.array_bytes:
        raise UnreadableError(f"{path} has slices of shape {shape}, over the limit: crop them")
    if not limits.unpacks(size, data.id.get_storage_size()):
        raise UnreadableError(unpacking(path, size, data.id.get_storage_size(), limits))
    return np.asarray(data[()] if index is None else data[index])


def voxel_size(path: Path) -> tuple[float, float, float] | None:
    """Millimetres from one row, column and slice to the next by the file's ISMRMRD header; None without."""
    with opened(path) as file:
        held = _own(file, path, "ismrmrd_header")
        small = getattr(held, "shape", None) in ((), (1,))
        text = held[()] if held is not None and small and held.dtype.itemsize <= _LONGEST else b""
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
