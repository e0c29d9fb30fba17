"""Files and folders that are either whole or absent: written aside, fsynced, then renamed.

Training checkpoints, priors, pages and pictures are all written this way. A folder counts as whole when its
`manifest.json`, the last file written, lists the size and SHA-256 of every other file and they agree.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from headwater.errors import UserError, need

MANIFEST = "manifest.json"
ASIDE = re.compile(r"\.headwater-[0-9a-f]{16}(\.\w{1,16})?")
"""Names of files and folders still being written, and of old ones being removed; readers ignore them."""
LIMIT = 4 << 20
"""Largest JSON file, in bytes, that a reader takes in."""
MOST_LISTS = 200_000
"""Most lists and objects in it, which take forty times their own bytes."""
_LATER: ContextVar[set[Path] | None] = ContextVar("later", default=None)
"""Files whose names are synced by the caller of `names_synced_later`."""


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: str | os.PathLike[str], limit: int | None = LIMIT) -> dict[str, Any]:
    """A JSON object from a file of at most `limit` bytes; None for files that nobody else writes.

    Raises UserError for anything else.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            raw = file.read() if limit is None else file.read(limit + 1)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): check the path") from None
    if limit is not None:
        need(len(raw) <= limit, f"{path} is larger than {limit >> 20} MiB: it is no description; remove it")
        lists = raw.count(b"[") + raw.count(b"{")
        need(lists <= MOST_LISTS, f"{path} holds {lists} lists and objects: it is no description; remove it")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):  # of JSON, of its letters, of a number of too many digits
        raise UserError(f"{path} is not valid JSON: write it again or get another copy") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object: write it again or get another copy")
    return value


def write_json(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """Write a JSON object, one field a line."""
    Path(path).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def written_aside(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on leaving, it becomes `folder` in one step.

    A folder that was written this way is replaced as a whole; one with any other file in it is refused,
    since replacing would delete that file. When the body raises, what was there stays and
    nothing is left behind; a killed process leaves at most a folder whose name
    matches `ASIDE`, which `sweep` removes.
    Raises UserError when the place cannot be written or the disk is full.
    """
    target = Path(os.path.abspath(folder))
    need(not target.exists() or target.is_dir(), f"{target} is a file: give the path of a folder")
    strange = _strange(target)
    need(not strange, f"{target} holds other files ({strange}): choose a new or empty folder")
    aside: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = _beside(target)
        aside.mkdir()
        yield aside
        _seal(aside)
        _swap(aside, target)
        _sync(target.parent)
    except (OSError, SafetensorError) as error:
        raise _unwritable(target, error) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def write_file(file: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write a whole file or nothing; text as UTF-8. Returns its path.

    Raises UserError when the place cannot be written or the disk is full.
    """
    with file_written_aside(file) as aside:
        aside.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", errors="replace"))
    return Path(file)


@contextlib.contextmanager
def file_written_aside(file: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a file to write beside `file`; on leaving, it becomes `file` in one step.

    Raises UserError when the place cannot be written or the disk is full.
    """
    target = Path(os.path.abspath(file))
    need(not target.is_dir(), f"{target} is a folder: give the path of a file")
    aside = _beside(target, target.suffix)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        _sync(aside)
        os.replace(aside, target)
        later = _LATER.get()
        if later is None:
            _sync(target.parent)
        else:
            later.add(target)
    except (OSError, SafetensorError) as error:
        raise _unwritable(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


@contextlib.contextmanager
def names_synced_later() -> Iterator[set[Path]]:
    """Let files be written as ever, but not yet kept through a power cut: their names are not on the disk.

    Yields the files, whose folders `sync_folders` must be given for that: once for many files, which takes
    half as long. Holds in this thread only.
    """
    files: set[Path] = set()
    token = _LATER.set(files)
    try:
        yield files
    finally:
        _LATER.reset(token)


def sync_folders(folders: Collection[Path]) -> None:
    """Keep the names of all files in these folders, and not in those below, through a power cut."""
    for folder in folders:
        _sync(folder)


def verify(folder: str | os.PathLike[str], names: Collection[str] = ()) -> dict[str, str]:
    """SHA-256 by relative file name, when every file is the one that was written.

    Raises UserError naming the first file that is missing, cut short or changed. Files that the
    manifest does not name are ignored, and no name may lead out of the folder. names: the only ones to
    check and return, if given.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    need(path.is_file(), f"{folder} has no {MANIFEST}: it was never finished; use another copy")
    files = read_json(path).get("files")
    if not isinstance(files, dict):
        raise UserError(f"{path} lists no files: use another copy of this folder")
    hashes: dict[str, str] = {}
    for name, entry in files.items():
        if names and name not in names:
            continue
        need(is_plain(name), f"{path} names {name!r}, which is outside the folder: do not trust this folder")
        if not (isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()):
            raise UserError(f"{path} does not say the size of {name!r}: use another copy of this folder")
        file = folder / name
        need(file.is_file(), f"{file} is missing: use another copy of this folder")
        same = file.stat().st_size == entry["bytes"] and sha256(file) == entry["sha256"]
        need(same, f"{file} is not the file that was written (size or hash differs): use another copy")
        hashes[name] = str(entry["sha256"])
    return hashes


def is_whole(folder: str | os.PathLike[str]) -> bool:
    """Whether `verify` passes."""
    try:
        verify(folder)
    except UserError:
        return False
    return True


def sweep(parent: str | os.PathLike[str]) -> None:
    """Remove what killed processes left half-written in `parent`. Call it when no other writer is there."""
    for left in list(Path(parent).glob(".headwater-*")):
        if not ASIDE.fullmatch(left.name):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _unwritable(target: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"cannot write {target} ({reason}): free some space or choose a folder that you may write"
    )


def _strange(folder: Path) -> str:
    """A file in the folder that its manifest does not name; empty when it may be replaced."""
    if not folder.is_dir():
        return ""
    held = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
    if not held:
        return ""
    known = read_json(folder / MANIFEST).get("files") if MANIFEST in held else None
    named = {MANIFEST, *known} if isinstance(known, dict) else set()
    return next((name for name in held if name not in named), "")


def _beside(target: Path, suffix: str = "") -> Path:
    """A name that no user gives, and as short as it is: that of the target may fill what a name may have."""
    kept = suffix if re.fullmatch(r"\.\w{1,16}", suffix, re.ASCII) else ""
    return target.parent / f".headwater-{secrets.token_hex(8)}{kept}"


def is_plain(name: str) -> bool:
    """Whether a name leads to a file below the folder that it is joined to."""
    path = Path(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _seal(aside: Path) -> None:
    """Make the files durable, then say what they are in a manifest written last."""
    (aside / MANIFEST).unlink(missing_ok=True)
    files: dict[str, dict[str, int | str]] = {}
    for path in sorted(p for p in aside.rglob("*") if p.is_file()):
        _sync(path)
        name = path.relative_to(aside).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    for path in sorted(p for p in aside.rglob("*") if p.is_dir()):
        _sync(path)
    write_json(aside / MANIFEST, {"format": 1, "files": files})
    _sync(aside / MANIFEST)
    _sync(aside)


def _swap(aside: Path, target: Path) -> None:
    """Put `aside` where `target` is; afterwards `aside` is the old folder, or gone.

    A rename cannot replace a folder that holds files, so the two change places. Where the system cannot
    do that in one step, the old folder is moved away first.
    """
    if not target.exists() or not any(target.iterdir()):
        os.replace(aside, target)
    elif not _exchange(aside, target):
        old = _beside(target)
        os.replace(target, old)
        try:
            os.replace(aside, target)
        except OSError:
            os.replace(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step with Linux' renameat2; False where that is not to be had."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "renameat2"):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), swap) == 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
