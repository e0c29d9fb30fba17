"""Maps that a network of the user's own makes of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from headwater.cli.kinds.family import Family, Files, Items, Request, relative
from headwater.data import UnreadableError
from headwater.data.arrays import read_npy, read_npz
from headwater.data.listing import files_below
from headwater.errors import need


class Features(Family):
    """Lists of float32 (channels, h, w), one for each resolution; only read."""

    looks: ClassVar[str] = ""

    def open(self, ask: Request) -> Items:
        path = ask.path
        paths = [path] if path.is_file() else files_below(path, (".npy", ".npz"))
        need(bool(paths), f"{ask.flag}: {ask.where} holds no .npy or .npz file: check the path")
        return Files(relative(paths, path), paths, _maps)

    def collate(self, items: Sequence[list[Tensor]]) -> list[Tensor]:
        shapes = sorted({tuple(tuple(m.shape) for m in item) for item in items})
        need(
            len(shapes) == 1,
            f"features are of shapes {' and '.join(map(str, shapes[:3]))}: bring them to one",
        )
        return [torch.stack(maps) for maps in zip(*items, strict=True)]

    def write(self, out: Path, key: str, name: str, item: Any) -> str:
        raise NotImplementedError("no method makes features")


def _maps(path: Path) -> list[Tensor]:
    """The arrays of a file, in the order of their names."""
    whole = path.suffix.lower() == ".npy"
    arrays = {"": read_npy(path)} if whole else dict(sorted(read_npz(path).items()))
    for name, array in arrays.items():
        where = f"{path}[{name}]" if name else str(path)
        if array.ndim != 3 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise UnreadableError(f"{where} is {array.shape} of {array.dtype}: give finite (channels, h, w)")
    return [torch.from_numpy(np.asarray(array, np.float32)) for array in arrays.values()]
