"""Where priors come from: folders, files, hub names and the shipped ones."""

from __future__ import annotations

import os
from pathlib import Path

from headwater.errors import UserError
from headwater.priors import folder
from headwater.priors.prior import Prior
from headwater.priors.schema import nearest

SHIPPED = Path(__file__).parent / "shipped"


def shipped() -> list[str]:
    """Names of the priors that come with the package."""
    if not SHIPPED.is_dir():
        return []
    return sorted(p.name for p in SHIPPED.iterdir() if (p / folder.CONFIG).is_file())


def load(where: str | os.PathLike[str]) -> Prior:
    """What `Prior.from_pretrained` does, on the CPU."""
    path = Path(where)
    if path.is_dir():
        return folder.read(path)
    if str(where) in shipped():
        return folder.read(SHIPPED / str(where))
    raise UserError(f"there is no prior {str(where)!r}{nearest(str(where), shipped())}")
