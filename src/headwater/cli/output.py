"""The output folder: it belongs to one run, and nothing in it that is the user's is touched."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from headwater.atomic import ASIDE, MANIFEST, is_plain, read_json, sha256
from headwater.cli.parts import FOLDER, Parts
from headwater.cli.record import NAME, read_record
from headwater.errors import UserError, need
from headwater.locks import LOCK

FITTED, CHECKPOINTS = "fitted", "checkpoints"
"""What `fit` leaves: folders whose files are listed in them, or named by the trainer."""
_LONGEST = 255
"""Bytes that a file system gives a name."""


def apart(out: Path, given: Mapping[str, Any], beside: Collection[str] = ()) -> None:
    """Refuse an output folder in which inputs lie, or that lies in one of them and would be read with it.

    given: option -> path, or None, or a name of what ships. beside: the options whose folder is not read as
    a whole, so that OUT may lie below it. Raises UserError.
    """
    need(not out.is_file(), f"{out} is a file: choose a folder for --out")
    own = out.expanduser().resolve()
    for flag, where in given.items():
        path = None if where is None else _found(str(where))
        if path is None:
            continue
        need(
            own not in path.parents and own != path,
            f"{flag} {where} lies in {out}, where results are to go: choose another --out",
        )
        need(
            flag in beside or not path.is_dir() or path not in own.parents,
            f"{out} lies in {flag} {where}, whose files are all read: choose an --out that does not",
        )


def open_output(
    out: Path, verb: str, target: str, files: Sequence[str], overwrite: bool, again: bool = False
) -> Path:
    """Make the output folder ready for a run that has it locked.

    files: what the run may write below `out`. With `overwrite` all that the last run of the same kind left,
    by its record, goes; what else is there stays. again: whether a run replaces the one before it unasked.

    Raises UserError if the folder holds something already or, with `overwrite`, another kind of run, a
    result that was changed since, or a file of the user's under a name that the run would write.
    """
    need(not out.is_file(), f"{out} is a file: choose a folder for --out")
    record = read_record(out)
    same = (record.get("verb"), record.get("target")) == (verb, target)
    held = _held(out)
    # A run that failed before its first result leaves its record only, and is in nobody's way.
    taken = held != [] and not (record and "outputs" not in record and held == [NAME])
    replaces = overwrite or (again and same)
    need(replaces or not taken, f"{out} is not empty: choose another --out, or add --overwrite")
    if record:
        what = " ".join(filter(None, (record.get("verb"), record.get("target"))))
        need(not taken or same, f"{out} holds the results of {what}: choose another --out, or remove them")
        _clear(out, record)
    strange = next((name for name in (NAME, *files) if os.path.lexists(out / name)), None)
    need(
        strange is None,
        f"{out / str(strange)} is there, and no run that can be replaced left it: move it, or choose another "
        "--out",
    )
    return out


def need_nothing_else(out: Path) -> None:
    """Refuse to go on in a folder that holds files and no record of a run."""
    other = next((name for name in _held(out) if not ASIDE.fullmatch(name)), None)
    need(other is None, f"{out} holds {other}, and no run to go on with: choose another --out")


def check_unchanged(out: Path, outputs: Mapping[str, str]) -> None:
    """Raises UserError, naming it, where a result of a finished run is not as it was."""
    for name, value in outputs.items():
        need(is_plain(name), f"{out / NAME} is damaged: restore it, or remove it to go on without")
        need(
            (out / name).is_file() and sha256(out / name) == value,
            f"{out / name} is not as its run left it: bring it back, or repeat the run with --overwrite",
        )


def check_names(made: Mapping[str, Sequence[str]], tables: Collection[str], out: Path) -> list[str]:
    """The files below `out` that items get, item -> its files; also those that all share.

    Raises UserError, naming the item, for files that `out` cannot hold: of one name, also where the file
    system does not tell upper from lower case, below a file, of a name that is too long or no UTF-8.
    """
    folds = (out / LOCK.upper()).exists()
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for item, files in made.items():
        try:
            item.encode()
        except UnicodeEncodeError:
            raise UserError(f"the name of {item!r} is no UTF-8: rename it") from None
        for file in files:
            path = PurePosixPath(file)  # as the system sees it: a//b and ./a/b are a/b
            long = next((part for part in path.parts if len(part.encode()) > _LONGEST), None)
            need(
                long is None,
                f"the result of {item} would have a name of more than {_LONGEST} bytes: rename it",
            )
            key = _folded(path, folds)
            other = seen.setdefault(key, item)
            need(other == item, f"{other} and {item} would have one result: rename one")
            for parent in path.parents:
                folders.setdefault(_folded(parent, folds), item)
    both = next((key for key in seen if key in folders), None)
    if both is not None:
        raise UserError(
            f"the result of {seen[both]} would be a file where that of {folders[both]} needs a folder: "
            "rename one"
        )
    return [*(file for files in made.values() for file in files), *tables]


def _folded(path: PurePosixPath, folds: bool) -> str:
    return unicodedata.normalize("NFC", path.as_posix()).casefold() if folds else path.as_posix()


def _found(where: str) -> Path | None:
    """The file or folder that an option names, itself or before a colon; None of what ships."""
    paths = (Path(where).expanduser(), Path(where.rpartition(":")[0] or where).expanduser())
    return next((path.resolve() for path in paths if path.exists()), None)


def _held(out: Path) -> list[str]:
    """What is in a folder but for its lock and what a killed writer left, the first few."""
    if not out.is_dir():
        return []
    names = sorted(p.name for p in out.iterdir() if p.name != LOCK and not ASIDE.fullmatch(p.name))
    return [name for name in names if not (out / name).is_dir() or any((out / name).iterdir())]


def _clear(out: Path, record: Mapping[str, Any]) -> None:
    """Remove what a run left, and no other file."""
    sealed = {**(record.get("outputs") or {}), **(record.get("pages") or {})}
    begun = Parts(out)
    owned = [str(name) for name in (*sealed, *begun.files(), *begun.planned()) if is_plain(str(name))]
    listed = [f for folder in (FITTED, "prior") for f in _listed(out, folder)]
    changed = next((n for n, v in sealed.items() if (out / n).is_file() and sha256(out / n) != v), None)
    need(
        changed is None,
        f"{out / str(changed)} was changed since it was written: move it away, or choose another --out",
    )
    try:
        for name in dict.fromkeys((*owned, *listed)):
            (out / name).unlink(missing_ok=True)
        for left in (out / CHECKPOINTS).rglob("log.jsonl"):
            left.unlink()
        for left in list((out / CHECKPOINTS).rglob("step-[0-9]*")):
            shutil.rmtree(left)
        shutil.rmtree(out / FOLDER, ignore_errors=True)
        (out / NAME).unlink(missing_ok=True)
        below = [p for p in out.rglob("*") if p.is_dir() and not p.is_symlink()]
        for folder in sorted(below, key=lambda p: len(p.parts), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out") from None


def _listed(out: Path, folder: str) -> list[str]:
    """The files of a folder that was written whole."""
    path = out / folder / MANIFEST
    files = read_json(path).get("files") if path.is_file() else None
    names = [*files, MANIFEST] if isinstance(files, dict) else []
    return [f"{folder}/{name}" for name in names if is_plain(name)]
