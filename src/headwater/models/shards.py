"""Weights in several files: an index names the file of every tensor, as diffusers writes it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from headwater.atomic import read_json, sha256
from headwater.errors import UserError, need

INDEX = re.compile(r"\.index(\.[\w-]+)?\.json$", re.IGNORECASE)
"""How the name of an index ends; diffusers puts a variant before `.json`."""
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")
"""In the name of a file of such weights."""
_MOST = 10_000


def is_index(path: Path) -> bool:
    """Whether this is the index of weights in several files, by its name."""
    return INDEX.search(path.name) is not None


def places(index: Path) -> dict[str, Path]:
    """The file of every tensor by the tensor's name. Reads the index alone.

    Raises UserError for an index that is broken, leads out of its folder, or names a file that is not there.
    """
    named = read_json(index).get("weight_map")
    if not (isinstance(named, dict) and named and all(isinstance(v, str) for v in named.values())):
        raise UserError(f"{index} does not say which file holds which tensor: get another copy")
    files = sorted(set(named.values()))
    for name in files:
        inside = name not in ("", ".", "..") and not re.search(r"[/\\\0]", name)
        need(inside, f"{index} names {name[:80]!r}, which is outside its folder: do not trust it")
    need(len(files) <= _MOST, f"{index} names {len(files)} files, more than weights have: get another copy")
    lost = [name for name in files if not (index.parent / name).is_file()]
    need(
        not lost,
        f"{index} names {len(files)} files, and {len(lost)} of them are missing ({', '.join(lost[:3])}): "
        "download them into the same folder",
    )
    return {tensor: index.parent / name for tensor, name in named.items()}


def files(path: Path) -> list[Path]:
    """The files that weights lie in, in the order of their names: those of an index, or the file itself."""
    return sorted(set(places(path).values())) if is_index(path) else [path]


def size(path: Path) -> int:
    """Bytes of all of them."""
    return sum(file.stat().st_size for file in files(path))


def file_hash(path: Path) -> str:
    """SHA-256 of a weights file. Of several: that of the lines that `sha256sum` prints of them, by name."""
    if not is_index(path):
        return sha256(path)
    lines = "".join(f"{sha256(file)}  {file.name}\n" for file in files(path))
    return hashlib.sha256(lines.encode()).hexdigest()


def refuse_single(path: Path) -> None:
    """UserError for one file of several, given by itself."""
    if found := SHARD.search(path.name):
        raise UserError(
            f"{path} is one of {int(found[2])} files of the same weights: give their index, which ends in "
            ".index.json, or the folder"
        )
