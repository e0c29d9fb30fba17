"""Which files below a folder are data: by their suffix in any case, without what programs leave there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_LEFT_THERE = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "__pycache__", "Thumbs.db"}
)
"""Folders and files of systems and programs, which hold thumbnails and copies of names."""


def suffix_of(path: Path) -> str:
    """The suffix in lower case; `.nii.gz` counts as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def files_below(root: Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Every file below a folder, sorted; with some suffixes, given in lower case, whatever their own case.

    Hidden files and folders, and those of systems and programs, are left out.
    """
    return sorted(
        path
        for path in root.rglob("*")
        if (suffixes is None or suffix_of(path) in suffixes)
        and not any(part.startswith(".") or part in _LEFT_THERE for part in path.relative_to(root).parts)
        and path.is_file()
    )
