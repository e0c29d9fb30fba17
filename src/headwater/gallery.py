"""Where shipped data, priors and fitted methods are: in a distribution of their own, `headwater-gallery`.

Without it everything but shipped names works, and a shipped name gets one sentence that says what to install.
"""

from __future__ import annotations

import difflib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from headwater.errors import UserError, need

Kind = Literal["data", "priors", "fitted"]
ABSENT = 'headwater-gallery, which is not installed: pip install "headwater[gallery]"'
_NOUNS: dict[Kind, str] = {"data": "data", "priors": "priors", "fitted": "fitted methods"}
_INNER = "fitted"


def _folders() -> dict[Kind, Path]:
    spec = find_spec("headwater_gallery")
    root = Path(spec.origin).parent if spec and spec.origin else None
    return {kind: root / kind for kind in get_args(Kind)} if root else {}


FOLDERS = _folders()
"""The folder of each kind; empty where the gallery is not installed."""


def folder(kind: Kind) -> Path:
    """The folder of all that ships of one kind. Raises UserError where the gallery is not installed."""
    need(kind in FOLDERS, f"shipped {_NOUNS[kind]} are in {ABSENT}")
    return FOLDERS[kind]


def names(kind: Kind) -> list[str]:
    """Names of what ships of one kind; none where the gallery is not installed."""
    where = FOLDERS.get(kind)
    if where is None or not where.is_dir():
        return []
    if kind == "data":
        return list(json.loads((where / "manifest.json").read_text(encoding="utf-8")))
    return sorted(path.name for path in where.iterdir() if path.is_dir() and path.name[0] != ".")


def find(kind: Kind, name: str) -> Path | None:
    """The folder that ships under a name; None if nothing does.

    Raises UserError for a name, as against a path, where the gallery is not installed.
    """
    if kind not in FOLDERS and name.replace("-", "").isalnum():
        raise UserError(f"there is no {name!r} here, and shipped {_NOUNS[kind]} are in {ABSENT}")
    return FOLDERS[kind] / name if name in names(kind) else None


def run_folder(where: str | Path) -> Path:
    """The folder that `headwater fit` left at `where`, or else, without its checkpoints, what ships under
    that name.

    A path that is none is returned as it is, for its reader to judge. Raises UserError, naming the nearest
    one, for a plain name under which nothing ships.
    """
    path = Path(where)
    if path.is_dir():
        return path
    found = find("fitted", str(path))
    if found is None and len(path.parts) == 1:
        ship = names("fitted")
        near = difflib.get_close_matches(path.name, ship, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"what ships is {', '.join(ship) or 'nothing'}"
        need(False, f"there is no folder {path.name!r} and nothing fitted ships under that name: {hint}")
    return found or path


def shipped_fitted(where: str | Path) -> Path:
    """The folder to load something fitted from: the inner folder of `run_folder(where)`, if it has one."""
    path = run_folder(where)
    return path / _INNER if (path / _INNER).is_dir() else path
