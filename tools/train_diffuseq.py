"""Train the shipped DiffuSeq: `python tools/train_diffuseq.py --out DIR [--ship]`.

Short verses of the training books. Started again with the same DIR, it goes on where it stopped. --ship also
writes the weights in half precision into the package.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from fitted_card import ship

from headwater.cli.options import fill, read_options
from headwater.errors import UserError
from headwater.methods.catalogue import entry
from headwater.methods.text.diffuseq.claim import SHIPPED, SHORT, verses
from headwater.methods.text.diffuseq.method import DiffuSeq
from headwater.sampling import Run

RECIPE = entry("diffuseq").recipe("small")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped DiffuSeq; goes on where it stopped.")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the result")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--ship", action="store_true", help="also write the package's half-precision copy")
    args = parser.parse_args()
    try:
        method = fill(DiffuSeq, read_options(args.recipe), str(args.recipe))
        if args.steps:
            method = replace(method, training=replace(method.training, steps=args.steps))
        pairs = verses("train", SHORT)
        kept = args.out / "seed-0"
        run = Run(seed=0, checkpoint_dir=kept)
        fitted = method.fit(pairs.source, pairs.target, **run.child("diffuseq"))
        fitted.save_pretrained(args.out / SHIPPED)
        if args.ship:
            ship(SHIPPED, "diffuseq", fitted, method, kept / "diffuseq", about(len(pairs.source)))
    except UserError as error:
        raise SystemExit(f"train_diffuseq: {error}") from None


def about(pairs: int) -> dict[str, str]:
    """Rows of the card."""
    return {
        "Writes": "verses of the King James version in modern English",
        "Data": f"verses, split train, {pairs:,} pairs of at most {SHORT} words a side",
        "Made by": "tools/train_diffuseq.py --out DIR --ship",
        "Judged": "the README of the method diffuseq",
        "Licence": "MIT, as the data",
    }


if __name__ == "__main__":
    main()
