"""k-space, and pictures in units of their own: tensors of different shapes."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater.atomic import write_file
from headwater.cli.kinds.family import Family, Items, Request, stem
from headwater.cli.kinds.pictures import save_npy
from headwater.data import save_picture
from headwater.data.kspace import open_kspace, open_magnitude
from headwater.data.volumes import nifti, upright
from headwater.notes import note
from headwater.report import Cell, Heat


class Kspace(Family):
    """complex64 (H, W) or (coils, H, W)."""

    noun = ("slice", "slices")

    def open(self, ask: Request) -> Items:
        return open_kspace(ask.path, empty=False)

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}.npy"]

    def write(self, out: Path, key: str, name: str, item: Tensor) -> str:
        (file,) = self.files(key, name)
        save_npy(out / file, item)
        return ""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        """Logarithm of the magnitude, of all coils together."""
        planes = [item.abs().square().reshape(-1, *item.shape[-2:]).sum(0).sqrt() for item in items]
        return [Heat(torch.log1p(1e3 * plane / plane.max().clamp_min(1e-30))) for plane in planes]


class Complex(Kspace):
    """complex64 (..., H, W): pictures with their phase."""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        """The magnitude, the mean over all axes but the last two."""
        return [_unit(item.abs().reshape(-1, *item.shape[-2:]).mean(0)) for item in items]


@dataclass(frozen=True, eq=False)
class Magnitude(Family):
    """float32 (H, W), or volumes (slices, H, W), whose middle slice is shown."""

    noun = ("slice", "slices")
    affine: np.ndarray | None = None
    """From voxels of a result to millimetres, (4, 4); None makes voxels of 1 mm."""

    def at(self, affine: np.ndarray | None) -> Family:
        return replace(self, affine=affine)

    def open(self, ask: Request) -> Items:
        return open_magnitude(ask.path)

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}{'.nii.gz' if _medical() else '.npy'}", f"{key}/{stem(name)}.png"]

    def write(self, out: Path, key: str, name: str, item: Tensor) -> str:
        exact, seen = self.files(key, name)
        if _medical():
            write_file(out / exact, _nifti(item, self.affine))
        else:
            note("nibabel is not installed, so .npy is written: pip install 'headwater[medical]'")
            save_npy(out / exact, item)
        save_picture(_unit(item), out / seen)
        return ""

    def cells(self, items: Sequence[Tensor]) -> list[Cell]:
        return [_unit(item) for item in items]


def _medical() -> bool:
    """Whether NIfTI files can be written."""
    return importlib.util.find_spec("nibabel") is not None


def _nifti(picture: Tensor, affine: np.ndarray | None) -> bytes:
    """A picture (H, W) or volume (slices, H, W) as axial slices of a compressed NIfTI, anterior up."""
    slices = picture.detach().float().cpu().reshape(-1, *picture.shape[-2:])
    return nifti(upright(slices.numpy()), affine)


def _unit(picture: Tensor) -> Tensor:
    """float (1, H, W) in [-1, 1], of a volume its middle slice: zero is black, the largest value white."""
    plane = picture.detach().float()
    plane = plane if plane.ndim == 2 else plane[len(plane) // 2]
    return (2 * plane / plane.max().clamp_min(1e-30) - 1)[None]
