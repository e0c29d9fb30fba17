"""Headwater: one diffusion prior, every downstream task.

Names are imported when first used, so that `import headwater` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.core import DDIM as DDIM
    from headwater.core import Ancestral as Ancestral
    from headwater.core import Clip as Clip
    from headwater.core import Control as Control
    from headwater.core import Denoiser as Denoiser
    from headwater.core import Diffusion as Diffusion
    from headwater.core import DPMSolver as DPMSolver
    from headwater.core import FlowODE as FlowODE
    from headwater.core import Heun as Heun
    from headwater.core import Langevin as Langevin
    from headwater.core import PredictorCorrector as PredictorCorrector
    from headwater.core import descend as descend
    from headwater.core import jumps as jumps
    from headwater.core import last as last
    from headwater.core import respaced as respaced
    from headwater.core import reverse as reverse
    from headwater.core.noise import PowerLaw as PowerLaw
    from headwater.core.noise import Truncated as Truncated
    from headwater.core.noise import White as White
    from headwater.core.simplex import Simplex as Simplex
    from headwater.data import load as load
    from headwater.errors import UserError as UserError
    from headwater.priors import Prior as Prior
    from headwater.priors import shipped as shipped
    from headwater.run import Run as Run

    __version__: str

_CORE = (
    *("Ancestral", "DDIM", "DPMSolver", "FlowODE", "Heun", "Langevin", "PredictorCorrector"),
    *("Clip", "Control", "Denoiser", "Diffusion"),
    *("descend", "jumps", "last", "respaced", "reverse"),
)
_HOMES = {
    **dict.fromkeys(_CORE, "headwater.core"),
    **dict.fromkeys(("PowerLaw", "Truncated", "White"), "headwater.core.noise"),
    "Simplex": "headwater.core.simplex",
    "load": "headwater.data",
    "UserError": "headwater.errors",
    "Prior": "headwater.priors",
    "shipped": "headwater.priors",
    "Run": "headwater.run",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("headwater")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'headwater' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
