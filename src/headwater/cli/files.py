"""Reading the inputs of a method and writing its outputs, by the `Kind` that its page declares."""

from __future__ import annotations

import dataclasses
import inspect
import io
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from headwater.data import open_dataset, save_labels, save_mask, save_picture
from headwater.data.arrays import read_npy
from headwater.data.masks import UNLABELLED, read_known, read_labels, read_mask
from headwater.data.pictures import list_pictures
from headwater.data.saving import write_atomic
from headwater.errors import UserError, need
from headwater.methods.base import Kind

OnError = Literal["stop", "skip"]
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def kinds(function: Callable[..., Any]) -> dict[str, Kind]:
    """The arguments of a method's function that come from files."""
    hints = typing.get_type_hints(function, include_extras=True)
    names = inspect.signature(function).parameters
    return {name: kind for name in names if (kind := _kind(hints.get(name))) is not None}


def results(function: Callable[..., Any], alone: str) -> dict[str, Kind]:
    """The outputs of a method's function by name; a single one is called `alone`."""
    hint = typing.get_type_hints(function, include_extras=True)["return"]
    if (kind := _kind(hint)) is not None:
        return {alone: kind}
    fields = typing.get_type_hints(hint, include_extras=True) if dataclasses.is_dataclass(hint) else {}
    return {name: kind for name, h in fields.items() if (kind := _kind(h)) is not None}


def _kind(hint: Any) -> Kind | None:
    return next((m for m in typing.get_args(hint) if isinstance(m, Kind)), None)


class Source:
    """The files of one input, read a few at a time."""

    def __init__(
        self, name: str, kind: Kind, where: str, shape: tuple[int, int, int], on_error: OnError
    ) -> None:
        self.name, self.kind, self.size = name, kind, (shape[1], shape[2])
        self.skipped: list[tuple[str, str]] = []
        if kind.name == "images":
            path = Path(where)
            single = path.is_file() and path.suffix.lower() in (
                ".png",
                ".jpg",
                ".jpeg",
                ".webp",
                ".tif",
                ".tiff",
            )
            self.data = open_dataset(
                path.parent if single else where, shape, on_error=on_error, labels="none"
            )
            rows = range(len(self.data))
            self.rows = [i for i in rows if not single or self.data.name(i) == path.name]
            self.names = [self.data.name(i) for i in self.rows]
            self.skipped = [] if single else [(s.name, s.reason) for s in self.data.skipped]
            return
        path = Path(where)
        need(path.exists(), f"--{name.replace('_', '-')}: {where} does not exist")
        if kind.name == "scores":
            need(path.is_file(), f"--{name}: {where} is not a CSV file")
            lines = path.read_text(encoding="utf-8").splitlines()[1:]
            self.scores = [float(line.rsplit(",", 1)[1]) for line in lines]
            self.names = [line.rsplit(",", 1)[0] for line in lines]
        elif kind.name == "map":
            self.paths = sorted(path.rglob("*.npy"))
            need(bool(self.paths), f"{where} holds no .npy file")
            self.names = [p.relative_to(path).as_posix() for p in self.paths]
        else:
            self.paths = list_pictures(path) if path.is_dir() else [path]
            self.names = [p.relative_to(path).as_posix() if path.is_dir() else p.name for p in self.paths]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, rows: Sequence[int]) -> Tensor:
        """The tensor of these items as the method wants it."""
        match self.kind.name:
            case "images":
                return torch.stack([self.data[self.rows[i]] for i in rows])
            case "scores":
                return torch.tensor([self.scores[i] for i in rows])
            case "map":
                return torch.stack([torch.from_numpy(read_npy(self.paths[i])) for i in rows])
            case "labels":
                maps = torch.stack([read_labels(self.paths[i], self.size) for i in rows])
                return torch.where(maps < 0, UNLABELLED, maps)
            case "mask":
                return torch.stack([self._mask(self.paths[i]) for i in rows])[:, None]

    def _mask(self, path: Path) -> Tensor:
        return (
            read_known(path, self.size, white="known") if self.name == "known" else read_mask(path, self.size)
        )

    def beside(self, names: Sequence[str]) -> list[int]:
        """The rows of this source that belong to the items called `names`, matched without suffixes.

        One mask serves all. UserError names an item without a partner.
        """
        if self.kind.name == "mask" and len(self) == 1:
            return [0] * len(names)
        stems = {str(Path(name).with_suffix("")): i for i, name in enumerate(self.names)}
        missing = [name for name in names if str(Path(name).with_suffix("")) not in stems]
        if missing and len(self) == len(names):
            return list(range(len(names)))  # numbered differently, but one for one
        if missing:
            raise UserError(
                f"--{self.name} has nothing for {missing[0]}: give one file of the same name for each"
            )
        return [stems[str(Path(name).with_suffix(""))] for name in names]


def write(kind: Kind, folder: Path, name: str, value: Tensor) -> None:
    """Write one item's output: folder/<name>.png, for maps also .npy. Scores are gathered elsewhere."""
    path = (folder / name).with_suffix(".png")
    match kind.name:
        case "images":
            save_picture(value, path)
        case "mask":
            save_mask(value.reshape(value.shape[-2:]), path)
        case "labels":
            save_labels(torch.where(value == UNLABELLED, -1, value), path)
        case "map":
            buffer = io.BytesIO()
            np.save(buffer, value.cpu().numpy(), allow_pickle=False)
            write_atomic(path.with_suffix(".npy"), buffer.getvalue())
            top = float(value.max())
            save_picture(2 * value / top - 1 if top > 0 else value - 1, path)
        case "scores":
            raise ValueError("scores are written together, as one table")


def write_scores(path: Path, names: Sequence[str], values: Sequence[float]) -> None:
    """One number per item as CSV."""
    rows = "".join(f"{name},{value!r}\n" for name, value in zip(names, values, strict=True))
    write_atomic(path, f"name,{path.stem}\n{rows}".encode())
