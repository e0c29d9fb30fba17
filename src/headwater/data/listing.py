"""Which files below a folder are data: by their suffix in any case, without what programs leave there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from headwater.notes import note

_LEFT_THERE = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "__pycache__", "Thumbs.db"}
)
"""Folders and files of systems and programs, which hold thumbnails and copies of names."""
TABLES = (".csv", ".tsv")
"""Suffixes of tables of cells."""


def suffix_of(path: Path) -> str:
    """The suffix in lower case; `.nii.gz` counts as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def files_below(root: Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Every file below a folder, sorted; with some suffixes, given in lower case, whatever their own case.

    Hidden files and folders, and those of systems and programs, are left out. So are folders that cannot be
    opened, links to folders, and what has the name of a file and is none; a note says of each that it was.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(root, onerror=_unopened):
        here = Path(place)
        folders[:] = [name for name in folders if not _is_left_there(name)]
        for link in (here / name for name in folders if (here / name).is_symlink()):
            note("is a link to a folder, whose files are left out: give that folder itself", link)
        for path in (here / name for name in names if not _is_left_there(name)):
            if suffixes is not None and suffix_of(path) not in suffixes:
                continue
            if path.is_file():
                found.append(path)
            else:
                note("is a pipe, a device or a link to nothing: it is left out", path)
    return sorted(found)


def _is_left_there(name: str) -> bool:
    return name.startswith(".") or name in _LEFT_THERE


def _unopened(error: OSError) -> None:
    note(f"cannot be opened ({error.strerror}): its files are left out", error.filename)
