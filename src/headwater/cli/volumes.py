"""Results of the slices of a volume, put together as a volume that lies where the input does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from headwater.atomic import write_file
from headwater.cli.kinds.family import stem
from headwater.data.label_maps import UNLABELLED
from headwater.data.pictures import opened
from headwater.data.volumes import Grid, nifti, upright
from headwater.methods.base import Kind
from headwater.notes import note

_KINDS = ("images", "measured", "mask", "labels", "map")
"""Results that are a file a slice."""


def volumes_of(outputs: Mapping[str, Kind], grid: Grid) -> list[str]:
    """The files below OUT that `write_volumes` may write."""
    return [f"{key}/{grid.name}.nii.gz" for key, kind in outputs.items() if kind.name in _KINDS]


def write_volumes(out: Path, outputs: Mapping[str, Kind], names: Sequence[str], grid: Grid) -> list[str]:
    """Write OUT/<output>/<volume>.nii.gz from the files of all slices that `apply` has written.

    Pictures get the values of the input again, as black and white were read from them; masks are 0 and 1,
    label maps as in their files, maps as they are. Slices that were left out are 0, or unlabelled. What has
    another shape than the input shows no place in it, and a note says so.
    Returns the files that were written, below `out`.
    """
    written: list[str] = []
    for key, kind in outputs.items():
        if kind.name not in _KINDS:
            continue
        slices = [_stored(out / key / stem(name), kind.name) for name in names]
        found = [plane for plane in slices if plane is not None]
        height, width = found[0].shape[:2]
        if len({plane.shape for plane in found}) > 1 or not grid.shows_as((height, width)):
            note(f"{key} has not the shape of the input: no volume is made of it", grid.name)
            continue
        blank = np.full_like(found[0], UNLABELLED if kind.name == "labels" else 0)
        volume = upright(np.stack([blank if plane is None else plane for plane in slices]))
        slope, start = 1.0, 0.0
        if kind.name in ("images", "measured") and volume.ndim == 3:
            slope, start = (grid.white - grid.black) / 255, grid.black
        if volume.ndim == 4:  # a colour is one value of three parts
            volume = np.ascontiguousarray(volume).view([(part, "u1") for part in "RGB"])[..., 0]
        affine = grid.resized((height, width)).affine
        written += volumes_of({key: kind}, grid)
        write_file(out / written[-1], nifti(volume, affine, slope, start))
    return written


def _stored(path: Path, kind: str) -> np.ndarray | None:
    """The numbers (H, W) or colours (H, W, 3) of one slice's file; None if it was left out."""
    file = path.with_name(f"{path.name}{'.npy' if kind == 'map' else '.png'}")
    if not file.is_file():
        return None
    if kind == "map":
        return np.load(file, allow_pickle=False)[0]
    with opened(file, ("PNG",)) as picture:
        pixels = np.asarray(picture)
    return (pixels > 0).astype(np.uint8) if kind == "mask" else pixels
