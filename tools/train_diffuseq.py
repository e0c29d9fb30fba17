"""Train the shipped DiffuSeq and its baseline: `python tools/train_diffuseq.py --out DIR [--ship]`.

Short verses of the training books, as many updates for either. Started again with the same DIR, it goes on
where it stopped. --ship also writes the weights in half precision into the package.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from fitted_card import ship

from headwater.claims.diffuseq_arms import BASELINE, LONGEST, SHIPPED, Verses
from headwater.cli.options import fill, read_options
from headwater.errors import UserError
from headwater.methods.text.autoregressive import Autoregressive
from headwater.methods.text.diffuseq import DiffuSeq
from headwater.run import Run

RECIPE = Path(__file__).parent.parent / "recipes" / "diffuseq" / "small.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped DiffuSeq; goes on where it stopped.")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the results")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--ship", action="store_true", help="also write the package's half-precision copies")
    args = parser.parse_args()
    try:
        method = fill(DiffuSeq, read_options(args.recipe), str(args.recipe))
        if args.steps:
            method = replace(method, training=replace(method.training, steps=args.steps))
        pairs = Verses.of("train")
        fitted = method.fit(pairs.source, pairs.target, Run(keep=args.out / "diffuseq"))
        fitted.save(args.out / SHIPPED)
        baseline = Autoregressive.fit(
            pairs.source,
            pairs.target,
            fitted.tokenizer,
            fitted.network.config,
            method.training,
            Run(keep=args.out / "autoregressive"),
        )
        baseline.save(args.out / BASELINE)
        if args.ship:
            rows = about(len(pairs.source))
            ship(SHIPPED, "diffuseq", fitted, method, args.out / "diffuseq", rows)
            beside = {**rows, "Network": "the same, but reading from left to right: the baseline"}
            ship(BASELINE, "autoregressive", baseline, method, args.out / "autoregressive", beside)
    except UserError as error:
        raise SystemExit(f"train_diffuseq: {error}") from None


def about(pairs: int) -> dict[str, str]:
    """Rows of the card."""
    return {
        "Writes": "verses of the King James version in modern English",
        "Data": f"verses, split train, {pairs:,} pairs of at most {LONGEST} words a side",
        "Made by": "tools/train_diffuseq.py --out DIR --ship",
        "Judged": "docs/methods/diffuseq.md",
        "Licence": "MIT, as the data",
    }


if __name__ == "__main__":
    main()
