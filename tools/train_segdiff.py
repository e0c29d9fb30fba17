"""Train the networks of SegDiff's claim: `python tools/train_segdiff.py --out DIR [--seeds N] [--ship]`.

For each seed SegDiff and the plain U-Net that it is held against, for the same time. Started again with the
same DIR, it goes on where it stopped. --ship also writes the weights in half precision into the package.
--costs times an update of every arm; --rates compares learning rates on the split `pool`, which no arm is
trained or judged on: what they print is kept in mask_claim.py of methods/segmentation/shared.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from fitted_card import ship
from torch import Tensor

from headwater.errors import UserError
from headwater.methods.segmentation.segdiff.method import SegDiff
from headwater.methods.segmentation.shared.mask_claim import (
    CONSENSUS,
    COSTS,
    DATA,
    PLAIN,
    SHIPPED,
    SIDE,
    SKIN,
    UPDATES,
    Learner,
    arm,
    fit,
    masks_of,
    mean_dice,
    pictures,
    places,
)
from headwater.sampling import Run

RATES = (1e-3, 2e-3, 4e-3)
CHEAPEST = 2
"""Steps that the shipped network takes by itself: the fewest that are not worse (docs/performance.md)."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the networks of SegDiff's claim; goes on by itself.")
    parser.add_argument("--out", type=Path, help="folder for checkpoints and the results")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--updates", type=int, default=UPDATES, help="time per network, in plain updates")
    parser.add_argument("--ship", action="store_true", help="also write the package's half-precision copies")
    parser.add_argument("--costs", action="store_true", help="only time an update of every arm")
    parser.add_argument("--rates", nargs="*", metavar="ARM", help="only compare rates; no ARM: all arms")
    args = parser.parse_args()
    try:
        data, masks = pictures("train")
        if args.costs:
            print_costs(data.images, masks)
        elif args.rates is not None:
            print_rates(args.rates or list(COSTS), data.images, masks, args.updates)
        else:
            if args.out is None:
                raise UserError("give --out, a folder for checkpoints and the results")
            for seed in range(args.seeds):
                for name in SHIPPED:
                    train(name, seed, args.updates, args.out, args.ship)
    except UserError as error:
        raise SystemExit(f"train_segdiff: {error}") from None


def train(name: str, seed: int, updates: int, out: Path, shipped: bool) -> None:
    """One network; it ships only if it was trained as long as the claim says."""
    if shipped and updates != UPDATES:
        raise UserError(f"the claim wants {UPDATES} updates: leave --updates out to ship")
    called = SHIPPED[name].format(seed=seed)
    data, masks = pictures("train")
    learner = arm(name, updates)
    fitted = fit(learner, data.images, masks, Run(seed, checkpoint_dir=out / "training" / called))
    fitted.save_pretrained(out / called)
    if shipped:
        draws = "one mask of each, a baseline" if name == PLAIN else "masks"
        about = {
            "Draws": f"{draws}: {SKIN} in {SIDE} x {SIDE} RGB emoji",
            "Data": f"{DATA}, split train, {len(data):,} pictures with their masks",
            "Seed": str(seed),
            "Made by": f"tools/train_segdiff.py --out DIR --seeds {seed + 1} --ship",
            "Judged": "the README of the method segdiff",
            "Licence": "CC BY-SA 4.0, as the pictures",
        }
        target = "supervised-unet" if name == PLAIN else "segdiff"
        if isinstance(learner, SegDiff):
            learner = replace(learner, steps=CHEAPEST)
        ship(called, target, fitted, learner, out / "training" / called, about)


def print_costs(image: Tensor, masks: Tensor, rounds: int = 5, updates: int = 10) -> None:
    """Least time of an update over several rounds in turn, in those of the plain U-Net."""
    least = dict.fromkeys(COSTS, float("inf"))
    for _ in range(rounds):
        for name in COSTS:
            learner = arm(name, round(updates * COSTS[name]))
            begun = time.process_time()
            fit(learner, image, masks, Run(progress=False))
            took = (time.process_time() - begun) / learner.training.steps
            least[name] = min(least[name], took)
    for name, took in least.items():
        print(f"{name}: {took / least[PLAIN]:.2f} plain updates, {1000 * took:.0f} ms")


def print_rates(names: list[str], image: Tensor, masks: Tensor, updates: int) -> None:
    """Dice on 60 pictures of `pool` after a training at each rate, of nine samples where there are some.

    Beside `RATES` half the lowest or twice the highest is tried as long as that end is the best.
    """
    pool, truth = pictures("pool")
    rows, run = places(len(pool), 60), Run(batch_size=64, progress=False)
    for name in names:
        waiting, found = list(RATES), dict[float, float]()
        while waiting:
            rate = waiting.pop(0)
            learner: Learner = arm(name, updates, rate)
            drawn = masks_of(learner, fit(learner, image, masks, run), pool.images[rows], CONSENSUS, run)
            dice = mean_dice(drawn, truth[rows] > 0, min(CONSENSUS, drawn.shape[1]))
            found[rate] = float(dice.mean())
            print(f"{name}, rate {rate:g}: Dice {found[rate]:.3f}", flush=True)
            best = max(found, key=found.__getitem__)
            if not waiting and best in (min(found), max(found)):
                waiting = [best / 2 if best == min(found) else best * 2]


if __name__ == "__main__":
    main()
