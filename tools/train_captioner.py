"""Train the shipped captioner: `python tools/train_captioner.py --out DIR [--steps N] [--ship]`.

Emoji and their names, held-out concepts left out. Started again with the same DIR, it goes on where it
stopped. --ship also writes the weights in half precision into the package.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from fitted_card import ship

from headwater.cli.options import fill, read_options
from headwater.data import load
from headwater.errors import UserError
from headwater.methods.catalogue import entry
from headwater.methods.text.clip_diffusion_lm.claim import SHIPPED
from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM

RECIPE = entry(SHIPPED).recipe("small")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped captioner; goes on where it stopped.")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the result")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--ship", action="store_true", help="also write the package's half-precision copy")
    args = parser.parse_args()
    try:
        method = fill(CLIPDiffusionLM, read_options(RECIPE), str(RECIPE))
        if args.steps:
            method = replace(method, training=replace(method.training, steps=args.steps))
        data = load("emoji", "train", method.size)
        fitted = method.fit(data.images, data.names or [], checkpoint_dir=args.out / "training")
        fitted.save_pretrained(args.out / "fitted")
        if args.ship:
            about = {
                "Writes": f"the name of a {method.size} x {method.size} RGB emoji",
                "Data": f"emoji, split train, {len(data):,} pictures with their names",
                "Sees": f"through a dual encoder trained first on the same, {method.feature_steps} steps",
                "Made by": "tools/train_captioner.py --out DIR --ship",
                "Judged": "the README of the method clip-diffusion-lm",
                "Licence": "MIT and Apache-2.0, as the pictures",
            }
            ship(SHIPPED, SHIPPED, fitted, method, args.out / "training", about)
    except UserError as error:
        raise SystemExit(f"train_captioner: {error}") from None


if __name__ == "__main__":
    main()
