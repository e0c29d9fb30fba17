"""Train the shipped GLIDE: `python tools/train_glide.py --out DIR [--recipe FILE] [--steps N] [--ship]`.

Emoji and their names, held-out concepts left out. Started again with the same DIR, it goes on where it
stopped. --ship also writes the weights in half precision into the package.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from headwater.cli.options import fill, read_options
from headwater.data import load
from headwater.errors import UserError
from headwater.methods.shipped import FOLDER
from headwater.methods.synthesis.glide import Glide
from headwater.run import Run

RECIPE = Path(__file__).parent.parent / "recipes" / "glide" / "small.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped GLIDE; goes on where it stopped.")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the result")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--size", type=int, default=32, help="side of the pictures")
    parser.add_argument("--ship", action="store_true", help="also write the package's half-precision copy")
    args = parser.parse_args()
    try:
        method = fill(Glide, read_options(args.recipe), str(args.recipe))
        if args.steps:
            method = replace(method, training=replace(method.training, steps=args.steps))
        data = load("emoji", "train", args.size)
        fitted = method.fit(data.images, data.names or [], Run(keep=args.out / "training"))
        fitted.save(args.out / "fitted")
        if args.ship:
            fitted.network.half()
            fitted.save(FOLDER / "glide")
    except UserError as error:
        raise SystemExit(f"train_glide: {error}") from None


if __name__ == "__main__":
    main()
