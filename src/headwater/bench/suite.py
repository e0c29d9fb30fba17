"""Which comparisons there are, and at what sizes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from headwater.bench.change_features import ChangeFeatures
from headwater.bench.computed_once import ComputedOnce
from headwater.bench.core_overhead import CoreOverhead
from headwater.bench.csdi_sampling import CSDISampling
from headwater.bench.curve import Curve
from headwater.bench.few_labels import FewLabels
from headwater.bench.kept import Kept
from headwater.bench.method_quality import EnlargingQuality, GlideQuality, MaskQuality, SeriesQuality
from headwater.bench.pictured_step import PicturedStep
from headwater.bench.pixel_features import PixelFeatures
from headwater.bench.published import PublishedModel
from headwater.bench.purifier_gradient import PurifierGradient
from headwater.bench.quality import CALLS, LONG, ClosedForm, PriorQuality, Study
from headwater.bench.restoring import Restoring
from headwater.bench.reverse_loop import ReverseLoop
from headwater.bench.row import Row
from headwater.bench.simplex_fields import SimplexFields
from headwater.bench.surroundings import surroundings
from headwater.bench.training_mode import TrainingMode
from headwater.bench.training_step import TrainingStep
from headwater.errors import Unequal, need
from headwater.sampling import Run


class Comparison(Protocol):
    """Sizes of one comparison; `rows` checks that both sides compute the same, then times them."""

    def rows(self, run: Run) -> list[Row]: ...


@dataclass(frozen=True)
class Measured:
    """What came out: comparisons against a peer, and quality against network calls."""

    rows: list[Row]
    curves: list[Curve]
    refused: list[str] = field(default_factory=list[str])
    """Comparisons that were not timed, because their two sides do not compute the same: a sentence each."""


QUICK: Mapping[str, Sequence[Comparison]] = {
    "core": (
        CoreOverhead("Ancestral", 200, 15),
        CoreOverhead("DDIM", 200, 15),
        CoreOverhead("DPMSolver", 200, 15),
        CoreOverhead("Heun", 200, 15),
    ),
    "reverse": (
        ReverseLoop("DDIM", 50, 1, 11),
        ReverseLoop("DDIM", 50, 8, 5),
        ReverseLoop("DDPM", 250, 1, 5),
    ),
    "training": (
        TrainingStep("fp32", 64, 1, 7),
        TrainingStep("bf16", 64, 1, 7),
        PicturedStep("SR3", 16, 1, 7),
        PicturedStep("Palette", 16, 1, 7),
    ),
    "simplex": (
        SimplexFields("walk", 16, 64, 5),
        SimplexFields("training", 16, 64, 5),
        SimplexFields("walk", 1, 64, 5),
    ),
    "pixels": (PixelFeatures(128, 10, 3),),
    "changes": (ChangeFeatures(128, 3),),
    "once": (
        ComputedOnce("guidance", 10, 1, 5),
        ComputedOnce("guidance", 10, 16, 3),
        ComputedOnce("captions", 10, 1, 5),
        ComputedOnce("picture", 5, 4, 3),
        ComputedOnce("map", 10, 1, 3),
        ComputedOnce("side information", 10, 8, 3, side=35, scale=1),
        ComputedOnce("estimate", 10, 2, 3),
    ),
    "gradient": (PurifierGradient(10, 4, 3),),
    "restoring": (Restoring("DDRM", 20, 4, 5), Restoring("DPS", 50, 4, 3)),
    "series": (CSDISampling(35, 1, 4, 3, T=10),),
    "published": (PublishedModel("256x256_diffusion_uncond", 64, 1 / 8),),
}
"""Five to six minutes on two cores."""

FULL: Mapping[str, Sequence[Comparison]] = {
    "core": QUICK["core"],
    "reverse": (*QUICK["reverse"], ReverseLoop("DDIM", 50, 64, 5), ReverseLoop("DDPM", 1000, 1, 5)),
    "training": (
        TrainingStep("fp32", 64, 5, 9),
        TrainingStep("bf16", 64, 5, 9),
        PicturedStep("SR3", 16, 5, 9),
        PicturedStep("Palette", 16, 5, 9),
        TrainingMode(False, 64, 5, 5),
        TrainingMode(True, 64, 5, 5),
    ),
    "simplex": (
        *QUICK["simplex"],
        SimplexFields("walk", 16, 256, 3),
        SimplexFields("training", 16, 256, 3),
        SimplexFields("walk", 1, 256, 3),
    ),
    "pixels": (*QUICK["pixels"], PixelFeatures(256, 10, 3), FewLabels(50, 256, 10, 3)),
    "changes": (*QUICK["changes"], ChangeFeatures(256, 3)),
    "once": (*QUICK["once"], ComputedOnce("picture", 3, 1, 3, scale=1)),
    "gradient": (PurifierGradient(10, 4, 3), PurifierGradient(100, 1, 3)),
    "restoring": (*QUICK["restoring"], Restoring("DPS", 1000, 1, 3)),
    "series": (CSDISampling(35, 4, 10, 3),),
    "published": (PublishedModel("256x256_diffusion_uncond", 256),),
}
"""The papers' sizes too: about two hours and 10 GB."""

_GLIDE = {
    "DDPM": (10, 25, 50, 150),
    "DDIM": (10, 25, 50),
    "DPM-Solver++": (5, 10, 15, 25, 50),
    "DDPM, sections": (10, 15, 25),
    "DDIM, sections": (10, 15, 25),
}
QUICK_CURVES: Sequence[Study] = (ClosedForm(LONG),)
FULL_CURVES: Sequence[Study] = (
    *QUICK_CURVES,
    PriorQuality("digits", 256, "classifier", CALLS),
    PriorQuality("brain", 128, "cells", CALLS),
    PriorQuality("brain-simplex", 128, "cells", CALLS),
    PriorQuality("emoji", 128, "cells", CALLS),
    PriorQuality("emoji-parts", 128, "cells", CALLS),
    GlideQuality(192, _GLIDE, "encoder"),
    GlideQuality(192, _GLIDE, "grain"),
    MaskQuality(120, (2, 3, 5, 10, 25, 100)),
    SeriesQuality(60, 50, (3, 5, 10, 25, 50)),
    EnlargingQuality(80, (5, 10, 20, 50, 100), "features"),
    EnlargingQuality(80, (5, 10, 20, 50, 100), "grain"),
)

_CURVES = "quality"
NAMES = (*QUICK, _CURVES)


def run(
    full: bool = False, progress: bool = True, only: tuple[str, ...] = (), keep: Path | None = None
) -> Measured:
    """Measure every comparison, or those named in `only`, on the threads that torch has now.

    full: the papers' sizes too. keep: folder for finished ones, which are not measured again.
    A comparison whose two sides do not compute the same is refused, and the others are measured.
    Raises UserError for an unknown name, a missing peer, or a damaged file of an earlier measurement.
    """
    for name in only:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(NAMES)}"
        need(name in NAMES, f"there is no comparison {name!r}: {hint}")
    chosen, studies = (FULL, FULL_CURVES) if full else (QUICK, QUICK_CURVES)
    how, kept = Run(device="cpu", progress=progress), Kept(keep, surroundings())
    rows: list[Row] = []
    refused: list[str] = []
    for name, comparison in ((n, c) for n, sizes in chosen.items() if not only or n in only for c in sizes):
        try:
            rows += kept.rows(comparison, partial(comparison.rows, how))
        except Unequal as error:
            refused.append(f"{name}: {error}")
    wanted = studies if not only or _CURVES in only else ()
    return Measured(rows, [kept.curve(study, partial(study.curve, how)) for study in wanted], refused)
