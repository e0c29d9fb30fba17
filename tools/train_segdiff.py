"""Train the SegDiff that ships: `python tools/train_segdiff.py --out DIR [--ship]`.

It masks the skin of emoji people, whose hue is turned at random. Started again with the same DIR, it goes on
where it stopped. --ship also writes the weights in half precision into the package. --costs times an update
of every arm of the claims of SegDiff and implicit ensembles: what it prints is kept in mask_claim.py of
methods/segmentation/shared.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from fitted_card import ship

from headwater.data import load
from headwater.data.annotators import annotated
from headwater.errors import UserError
from headwater.methods.segmentation.segdiff.method import SegDiff
from headwater.methods.segmentation.shared.mask_claim import COSTS, PLAIN, SUM, Settings, arm, fit
from headwater.sampling import Run

DATA, SIDE, SKIN = "emoji-parts-hue", 24, "skin"
SHIPPED, UPDATES = "segdiff-skin-0", 4400
"""Its name, and how long it is trained, in updates of the plain U-Net of the claims."""
CHEAPEST = 2
"""Steps that the shipped network takes by itself: the fewest that are not worse (docs/performance.md)."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the SegDiff that ships; goes on by itself.")
    parser.add_argument("--out", type=Path, help="folder for checkpoints and the results")
    parser.add_argument("--ship", action="store_true", help="also write the package's half-precision copy")
    parser.add_argument("--costs", action="store_true", help="only time an update of every arm of the claims")
    args = parser.parse_args()
    try:
        if args.costs:
            print_costs()
            return
        if args.out is None:
            raise UserError("give --out, a folder for checkpoints and the results")
        train(args.out, args.ship)
    except UserError as error:
        raise SystemExit(f"train_segdiff: {error}") from None


def train(out: Path, shipped: bool) -> None:
    """Train it, keep it, and put it into the gallery if it is to ship."""
    data, learner = load(DATA, "train", SIDE), arm(SUM, UPDATES)
    assert isinstance(learner, SegDiff)
    assert data.labels is not None
    skin = (data.labels == data.classes.index(SKIN)).long()
    fitted = learner.fit(data.images, skin, **Run(checkpoint_dir=out / "training"))
    fitted.save_pretrained(out / SHIPPED)
    if shipped:
        about = {
            "Draws": f"masks: {SKIN} in {SIDE} x {SIDE} RGB emoji",
            "Data": f"{DATA}, split train, {len(data):,} pictures with their masks",
            "Seed": "0",
            "Made by": "tools/train_segdiff.py --out DIR --ship",
            "Judged": "the README of the method segdiff",
            "Licence": "CC BY-SA 4.0, as the pictures",
        }
        ship(SHIPPED, "segdiff", fitted, replace(learner, steps=CHEAPEST), out / "training", about)


def print_costs(rounds: int = 5, updates: int = 10) -> None:
    """Least time of an update over several rounds in turn, in those of the plain U-Net."""
    learn = annotated("mni", 160, Settings(()).side, 0, "learn")
    least = dict.fromkeys(COSTS, float("inf"))
    for _ in range(rounds):
        for name in COSTS:
            learner = arm(name, round(updates * COSTS[name]))
            begun = time.process_time()
            fit(learner, learn, Run(progress=False))
            took = (time.process_time() - begun) / learner.training.steps
            least[name] = min(least[name], took)
    for name, took in least.items():
        print(f"{name}: {took / least[PLAIN]:.2f} plain updates, {1000 * took:.0f} ms")


if __name__ == "__main__":
    main()
