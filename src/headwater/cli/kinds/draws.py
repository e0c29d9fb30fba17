"""Draws of the empty cells of series: one .npz an item."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headwater.atomic import write_file
from headwater.cli.kinds.family import Family, Files, Items, Request, relative, stem
from headwater.data.arrays import read_npz
from headwater.data.listing import files_below
from headwater.data.windows import Draws
from headwater.errors import need


class DrawsFiles(Family):
    """float32 (samples, cells)."""

    noun = ("file of draws", "files of draws")
    looks = ""

    def open(self, ask: Request) -> Items:
        path = ask.path
        paths = [path] if path.is_file() else files_below(path, (".npz",))
        need(bool(paths), f"{ask.flag}: {ask.where} holds no .npz file: give what `headwater apply` wrote")
        return Files([name.removesuffix(".npz") for name in relative(paths, path)], paths, _read)

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}.npz"]

    def write(self, out: Path, key: str, name: str, item: Draws) -> str:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, samples=item)
        (file,) = self.files(key, name)
        write_file(out / file, buffer.getvalue())
        return ""


def _read(path: Path) -> Draws:
    found = read_npz(path).get("samples", np.zeros(0))
    good = found.ndim == 2 and found.dtype.kind == "f" and bool(np.isfinite(found).all())
    need(good, f"{path} holds no samples of (draws, cells): give what `headwater apply` wrote")
    return found.astype(np.float32)
