"""Volumes and their place in the world: what is cut from them can be laid over them again."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from headwater.notes import note

from .arrays import axial_slices, grey_range
from .levels import Window
from .pictures import Limits, UnreadableError, centre_box

_SQUARE = 0.01
"""Sides of a pixel that differ by less than this share count as equal."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume and where it lies.

    values: float32 (X, Y, Z) in its own units, axes to right, anterior, superior.
    affine: float64 (4, 4), from the middle of voxel (x, y, z) to millimetres (right, anterior, superior).
    """

    values: Tensor
    affine: np.ndarray

    def of_slices(self, first: int, last: int) -> Volume:
        """The volume (X, Y, last - first + 1) of some neighbouring axial slices."""
        return Volume(self.values[:, :, first : last + 1], moved(self.affine, (1, 1, 1), (0, 0, first)))


@dataclass(frozen=True, eq=False)
class Grid:
    """Where pictures that were cut from a volume lie: axial slices, anterior up.

    name: of the volume.
    affine: (4, 4), from (column, row counted from the last one up, slice) to millimetres.
    size: height and width of the pictures. black, white: the values of the volume that they show as such.
    """

    name: str
    affine: np.ndarray
    size: tuple[int, int]
    black: float
    white: float

    @classmethod
    def of(cls, volume: Volume, name: str, black: float, white: float) -> Grid:
        """Of the axial slices of a volume as they are."""
        return cls(name, volume.affine, (volume.values.shape[1], volume.values.shape[0]), black, white)

    def fitted(self, size: tuple[int, int]) -> Grid:
        """Of the same pictures after `conform` has brought them to another size."""
        height, width = self.size
        left, top, right, bottom = centre_box(width, height, size[1] / size[0])
        return self._within((left, height - bottom, right - left, bottom - top), size)

    def resized(self, size: tuple[int, int]) -> Grid:
        """Of pictures of another size that show the same field."""
        return self._within((0, 0, self.size[1], self.size[0]), size)

    def shows_as(self, size: tuple[int, int]) -> bool:
        """Whether pictures of that size can show the same field: its sides are in proportion."""
        return self.size[0] * size[1] == self.size[1] * size[0]

    def _within(self, box: tuple[int, int, int, int], size: tuple[int, int]) -> Grid:
        """Of the pictures' box (left, bottom, width, height), in pixels from the lower left, resized."""
        by = (box[2] / size[1], box[3] / size[0])
        # The middle of the first new pixel, in old ones.
        start = (box[0] + (by[0] - 1) / 2, box[1] + (by[1] - 1) / 2)
        return replace(self, affine=moved(self.affine, (*by, 1), (*start, 0)), size=size)


def spacing(affine: np.ndarray) -> np.ndarray:
    """Millimetres from one voxel to the next along each of the three axes."""
    return np.sqrt((affine[:3, :3] ** 2).sum(0))


def moved(affine: np.ndarray, by: Sequence[float], start: Sequence[float]) -> np.ndarray:
    """The affine (4, 4) of a grid whose voxel i is at `start + by * i` of the grid that has `affine`."""
    step = np.diag([*by, 1.0])
    step[:3, 3] = start
    return affine @ step


def pictures_of(volume: Volume, path: Path, limits: Limits, window: Window | None) -> tuple[Tensor, Grid]:
    """The axial slices of a volume as pictures (Z, 1, H, W) in [-1, 1] of square pixels, and where they lie.

    UnreadableError, naming its file, for a single slice that is not axial, zeros alone, or values of which a
    window must be said.
    """
    values = volume.values
    if min(values.shape[:2]) < 2:
        raise UnreadableError(
            f"{path} is {' x '.join(map(str, values.shape))} voxels from left to right, back to front and "
            "down to up, a single slice that is not axial: save that slice as a picture"
        )
    if not bool((values != 0).any()):
        raise UnreadableError(f"{path} is 0 everywhere: give another volume")
    if bool((values == values[0, 0, 0]).all()):
        note(f"is {float(values[0, 0, 0]):g} everywhere, so that nothing can be seen in it", path)
    levels = grey_range(values, window, str(path))
    grid = Grid.of(volume, path.name.split(".")[0], *levels)
    return _squared(axial_slices(values, levels, str(path)), grid, path, limits)


def square_size(affine: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of axial slices (H, W) with square pixels, as fine as the shorter side was."""
    wide, high, _ = spacing(affine).tolist()
    side, (height, width) = min(wide, high), size
    if abs(wide - high) <= _SQUARE * side:
        return size
    return max(1, round(height * high / side)), max(1, round(width * wide / side))


def _squared(images: Tensor, grid: Grid, where: object, limits: Limits) -> tuple[Tensor, Grid]:
    """Pictures (Z, C, H, W) in [-1, 1] of square pixels, as fine as the shorter side was, and their grid.

    They are as they were where the sides are equal. UnreadableError where the result is over the limits.
    """
    wide, high, _ = spacing(grid.affine).tolist()
    (height, width), size = grid.size, square_size(grid.affine, grid.size)
    if size == grid.size:
        return images, grid
    if len(images) * size[0] * size[1] * 4 > limits.array_bytes:
        raise UnreadableError(
            f"{where} has voxels of {wide:.4g} x {high:.4g} mm in the plane, and with square pixels it is "
            "over the limit: resample it, or check its voxel size"
        )
    note(
        f"has voxels of {wide:.4g} x {high:.4g} mm in the plane: its slices are resampled from {width} x "
        f"{height} to {size[1]} x {size[0]} square pixels",
        where,
    )
    images = F.interpolate(images, size, mode="bicubic", align_corners=False).clamp(-1, 1)
    return images, grid.resized(size)


def nifti(values: np.ndarray, affine: np.ndarray | None, slope: float = 1.0, start: float = 0.0) -> bytes:
    """A compressed NIfTI file of an array (X, Y, Z), whose values are `start + slope * array`.

    affine: (4, 4), from voxels to millimetres; None says voxels of 1 mm and no unit.

    The same array gives the same bytes: no time stamp is inside.
    """
    import nibabel

    image = nibabel.Nifti1Image(np.ascontiguousarray(values), np.eye(4) if affine is None else affine)
    if affine is not None:
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        if not np.allclose(image.get_qform(), affine, atol=1e-3):  # sheared: a qform cannot say it
            image.set_qform(None, 0)
        image.header.set_xyzt_units("mm")
    if (slope, start) != (1.0, 0.0):
        image.header.set_slope_inter(slope, start)
    return gzip.compress(image.to_bytes(), mtime=0)


def upright(slices: np.ndarray) -> np.ndarray:
    """An array (X, Y, Z, ...) of slices (Z, H, W, ...) whose first row is the most anterior."""
    return np.swapaxes(slices[:, ::-1], 0, 2)
