"""Which comparisons there are, and at what sizes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Protocol

from headwater.bench.core_overhead import CoreOverhead
from headwater.bench.pixel_features import PixelFeatures
from headwater.bench.reverse_loop import ReverseLoop
from headwater.bench.row import Row
from headwater.bench.simplex_fields import SimplexFields
from headwater.bench.training_step import TrainingStep
from headwater.errors import need
from headwater.run import Run


class Comparison(Protocol):
    """Sizes of one comparison; `rows` checks that both sides compute the same, then times them."""

    def rows(self, run: Run) -> list[Row]: ...


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
    "training": (TrainingStep("fp32", 64, 1, 7), TrainingStep("bf16", 64, 1, 7)),
    "simplex": (SimplexFields("walk", 16, 64, 5), SimplexFields("training", 16, 64, 5)),
    "pixels": (PixelFeatures(128, 10, 3),),
}
"""Three to four minutes on two cores."""

FULL: Mapping[str, Sequence[Comparison]] = {
    "core": QUICK["core"],
    "reverse": (*QUICK["reverse"], ReverseLoop("DDIM", 50, 64, 5), ReverseLoop("DDPM", 1000, 1, 5)),
    "training": (TrainingStep("fp32", 64, 5, 9), TrainingStep("bf16", 64, 5, 9)),
    "simplex": (*QUICK["simplex"], SimplexFields("walk", 16, 256, 5), SimplexFields("training", 16, 256, 5)),
    "pixels": (*QUICK["pixels"], PixelFeatures(256, 10, 3)),
}
"""The papers' sizes too: about half an hour and 5 GB."""

NAMES = tuple(QUICK)


def run(full: bool = False, progress: bool = True, only: tuple[str, ...] = ()) -> list[Row]:
    """Measure every comparison, or those named in `only`, on the threads that torch has now.

    full: the papers' sizes too. Raises UserError for an unknown name, a missing peer, or a comparison whose
    two sides do not compute the same.
    """
    for name in only:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(NAMES)}"
        need(name in NAMES, f"there is no comparison {name!r}: {hint}")
    chosen = FULL if full else QUICK
    how = Run(progress=progress)
    return [
        row
        for name, sizes in chosen.items()
        if not only or name in only
        for comparison in sizes
        for row in comparison.rows(how)
    ]
