"""Headwater: one diffusion prior, every downstream task.

    import headwater as hw

    prior = hw.Prior.from_pretrained("digits")
    filled = hw.RePaint(steps=25, jump=5, resample=5).apply(prior, image, known, seed=0)

Names are imported when first used, so that `import headwater` costs next to nothing. Every method of
`headwater list` is one of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from headwater.methods.catalogue import METHODS

if TYPE_CHECKING:
    from headwater.controls import Clip as Clip
    from headwater.core import DDIM as DDIM
    from headwater.core import Ancestral as Ancestral
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
    from headwater.data import load as load
    from headwater.errors import UserError as UserError
    from headwater.models import ImageTextEncoder as ImageTextEncoder
    from headwater.models import Prior as Prior
    from headwater.models import shipped as shipped
    from headwater.noise import PowerLaw as PowerLaw
    from headwater.noise import RandomSimplex as RandomSimplex
    from headwater.noise import Simplex as Simplex
    from headwater.noise import Truncated as Truncated
    from headwater.noise import White as White
    from headwater.sampling import Run as Run

    __version__: str

if TYPE_CHECKING:  # methods: made by `make registers`
    from headwater.methods.anomaly.anoddpm.method import AnoDDPM as AnoDDPM
    from headwater.methods.medical.diffuse_recon.method import DiffuseRecon as DiffuseRecon
    from headwater.methods.medical.score_inverse.method import ScoreInverse as ScoreInverse
    from headwater.methods.medical.score_mri.method import ScoreMRI as ScoreMRI
    from headwater.methods.restoration.ddrm.method import DDRM as DDRM
    from headwater.methods.restoration.dps.method import DPS as DPS
    from headwater.methods.restoration.ilvr.method import ILVR as ILVR
    from headwater.methods.restoration.palette.method import Palette as Palette
    from headwater.methods.restoration.repaint.method import RePaint as RePaint
    from headwater.methods.restoration.sr3.method import SR3 as SR3
    from headwater.methods.robustness.adp.method import ADP as ADP
    from headwater.methods.robustness.blau_purification.method import BlauPurification as BlauPurification
    from headwater.methods.robustness.diffpure.method import DiffPure as DiffPure
    from headwater.methods.robustness.gdmp.method import GDMP as GDMP
    from headwater.methods.robustness.wu_purification.method import WuPurification as WuPurification
    from headwater.methods.segmentation.darl.method import DARL as DARL
    from headwater.methods.segmentation.dataset_ddpm.method import DatasetDDPM as DatasetDDPM
    from headwater.methods.segmentation.ddpm_cd.method import DDPMCD as DDPMCD
    from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation as DDPMSegmentation
    from headwater.methods.segmentation.implicit_ensembles.method import (
        ImplicitEnsembles as ImplicitEnsembles,
    )
    from headwater.methods.segmentation.segdiff.method import SegDiff as SegDiff
    from headwater.methods.series.csdi.method import CSDI as CSDI
    from headwater.methods.series.timegrad.method import TimeGrad as TimeGrad
    from headwater.methods.synthesis.blended_diffusion.method import BlendedDiffusion as BlendedDiffusion
    from headwater.methods.synthesis.d3pm_images.method import D3PMImages as D3PMImages
    from headwater.methods.synthesis.glide.method import Glide as Glide
    from headwater.methods.synthesis.glide_inpaint.method import GlideInpaint as GlideInpaint
    from headwater.methods.synthesis.sdm.method import SDM as SDM
    from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM as CLIPDiffusionLM
    from headwater.methods.text.d3pm.method import D3PM as D3PM
    from headwater.methods.text.diffuseq.method import DiffuSeq as DiffuSeq
    from headwater.methods.translation.egsde.method import EGSDE as EGSDE
    from headwater.methods.translation.sdedit.method import SDEdit as SDEdit
# end of methods

_CORE = (
    *("Ancestral", "DDIM", "DPMSolver", "FlowODE", "Heun", "Langevin", "PredictorCorrector"),
    *("Control", "Denoiser", "Diffusion"),
    *("descend", "jumps", "last", "respaced", "reverse"),
)
_HOMES = {
    **dict.fromkeys(_CORE, "headwater.core"),
    "Clip": "headwater.controls",
    "load": "headwater.data",
    "UserError": "headwater.errors",
    **dict.fromkeys(("ImageTextEncoder", "Prior", "shipped"), "headwater.models"),
    **dict.fromkeys(("PowerLaw", "RandomSimplex", "Simplex", "Truncated", "White"), "headwater.noise"),
    "Run": "headwater.sampling",
    **{e.attribute: f"headwater.methods.{e.chapter}.{e.room}.method" for e in METHODS.values()},
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
