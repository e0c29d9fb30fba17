"""Train the shipped GLIDE: `python tools/train_glide.py --out DIR [--inpaint] [--steps N] [--ship]`.

Emoji and their names, held-out concepts left out. Started again with the same DIR, it goes on where it
stopped. --inpaint fine-tunes what ships as `glide`. --ship also writes the weights in half precision into
the package.
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
from headwater.methods.synthesis.glide.method import Glide
from headwater.methods.synthesis.glide_inpaint.method import GlideInpaint


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped GLIDE; goes on where it stopped.")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the result")
    parser.add_argument("--inpaint", action="store_true", help="fine-tune the shipped one to inpaint")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--size", type=int, default=32, help="side of the pictures")
    parser.add_argument("--ship", action="store_true", help="also write the package's half-precision copy")
    args = parser.parse_args()
    try:
        name, kind = ("glide-inpaint", GlideInpaint) if args.inpaint else ("glide", Glide)
        recipe = entry(name).recipe("small")
        method = fill(kind, read_options(recipe), str(recipe))
        if args.steps:
            method = replace(method, training=replace(method.training, steps=args.steps))
        data = load("emoji", "train", args.size)
        fitted = method.fit(data.images, data.names or [], checkpoint_dir=args.out / "training")
        fitted.save_pretrained(args.out / "fitted")
        if args.ship:
            about = {
                "Draws": f"{data.images.shape[-1]} x {data.images.shape[-1]} RGB emoji from a caption",
                "Data": f"emoji, split train, {len(data.images):,} pictures with their names",
                "Made by": f"tools/train_glide.py --out DIR{' --inpaint' if args.inpaint else ''} --ship",
                "Judged": f"the README of the method {name}",
                "Licence": "MIT and Apache-2.0, as the pictures",
            }
            ship(name, name, fitted, method, args.out / "training", about)
    except UserError as error:
        raise SystemExit(f"train_glide: {error}") from None


if __name__ == "__main__":
    main()
