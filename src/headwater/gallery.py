"""Fitted methods that come with the package: where a fitted folder is asked for, a name will do.

Each is a folder as `headwater fit` leaves it, without checkpoints: run.yaml and fitted/.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from headwater.atomic import MANIFEST
from headwater.errors import need

FOLDER = Path(__file__).parent / "fitted"
_INNER = "fitted"


def names() -> list[str]:
    """Names of the fitted methods that ship."""
    if not FOLDER.is_dir():
        return []
    return sorted(path.name for path in FOLDER.iterdir() if (path / _INNER / MANIFEST).is_file())


def run_folder(where: str | Path) -> Path:
    """What ships under the name `where`, unless there is a folder of that name; else `where` itself."""
    path = Path(where)
    return FOLDER / path if not path.is_dir() and str(path) in names() else path


def shipped_fitted(where: str | Path) -> Path:
    """The folder to load something fitted from: a name that ships, what `headwater fit` left, or its inner
    folder.

    A path that is none is returned as it is, for its reader to judge. Raises UserError, naming the nearest
    one, for a plain name under which nothing ships.
    """
    path = run_folder(where)
    if not path.is_dir() and len(path.parts) == 1:
        near = difflib.get_close_matches(path.name, names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"what ships is {', '.join(names()) or 'nothing'}"
        need(False, f"there is no folder {path.name!r} and nothing fitted ships under that name: {hint}")
    return path / _INNER if (path / _INNER).is_dir() else path
