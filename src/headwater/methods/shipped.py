"""Fitted methods that come with the package: where a fitted folder is asked for, a name will do."""

from __future__ import annotations

import difflib
from pathlib import Path

from headwater.atomic import MANIFEST
from headwater.errors import need

FOLDER = Path(__file__).parent.parent / "fitted"


def names() -> list[str]:
    """Names of the fitted methods that ship."""
    if not FOLDER.is_dir():
        return []
    return sorted(path.name for path in FOLDER.iterdir() if (path / MANIFEST).is_file())


def shipped_fitted(where: str | Path) -> Path:
    """The folder meant by `where`: a folder that exists, or else what ships under that name.

    A path is returned as it is, for its reader to judge. Raises UserError, naming the nearest one, for a
    plain name under which nothing ships.
    """
    path, name = Path(where), str(where)
    if path.is_dir() or len(path.parts) != 1:
        return path
    if name in names():
        return FOLDER / name
    near = difflib.get_close_matches(name, names(), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"what ships is {', '.join(names()) or 'nothing'}"
    need(False, f"there is no folder {name!r} and nothing fitted ships under that name: {hint}")
    return path
