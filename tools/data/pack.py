"""A shipped set on its way into the gallery: arrays, what they are, and a reproducible .npz."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pack:
    """Arrays of one set (file stem -> array name -> array) and its manifest entry."""

    name: str
    files: dict[str, dict[str, np.ndarray]]
    licence: str
    sources: list[dict[str, str]]
    about: dict[str, Any] = field(default_factory=dict)


def write(pack: Pack, folder: Path) -> dict[str, Any]:
    """Write the files of a set and return its manifest entry."""
    files = {}
    for stem, arrays in pack.files.items():
        data = npz(arrays)
        (folder / f"{stem}.npz").write_bytes(data)
        files[f"{stem}.npz"] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "arrays": {k: [str(v.dtype), list(v.shape)] for k, v in arrays.items()},
        }
    return {
        "licence": pack.licence,
        "sources": pack.sources,
        **pack.about,
        "files": files,
    }


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed .npz whose bytes depend on the arrays only (fixed time stamps, no pickle)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue(), compresslevel=9)
    return out.getvalue()


def text(items: list[str]) -> np.ndarray:
    """Strings as a fixed-width unicode array, which needs no pickle."""
    return np.array(items, dtype=np.str_)
