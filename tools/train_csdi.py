"""Train the shipped CSDI on air: `python tools/train_csdi.py --out DIR [--seeds N] [--steps N] [--ship]`.

For each seed a network that sees the given cells and an unconditional one of the same size, as the claim
compares them. Started again with the same DIR, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from fitted_card import ship

from headwater.errors import UserError
from headwater.methods.series.csdi.claim import COLUMNS, FULL, SHIPPED, air
from headwater.methods.series.csdi.method import CSDI


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped CSDI; goes on where it stopped.")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the results")
    parser.add_argument("--seeds", type=int, default=1, help="pairs of networks")
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--ship", action="store_true", help="also write the package's copies")
    args = parser.parse_args()
    try:
        method = replace(FULL.method, training=replace(FULL.method.training, steps=args.steps))
        train = air("train")
        for seed in range(args.seeds):
            for given, name in zip(("input", "pasted"), SHIPPED.values(), strict=True):
                name = name.format(seed=seed)
                variant = replace(method, given=given)
                fitted = variant.fit([train], seed=seed, checkpoint_dir=args.out / "training" / name)
                fitted.save_pretrained(args.out / name)
                if args.ship:
                    ship(name, "csdi", fitted, variant, args.out / "training" / name, about(variant, seed))
    except UserError as error:
        raise SystemExit(f"train_csdi: {error}") from None


def about(method: CSDI, seed: int) -> dict[str, str]:
    """Rows of the card."""
    sees = "sees the given cells" if method.given == "input" else "has given cells pasted in (the baseline)"
    return {
        "Fills": f"hourly weather and air quality of Beijing: {', '.join(COLUMNS)}",
        "Network": sees,
        "Data": "air, split train (2010 to 2012)",
        "Seed": str(seed),
        "Made by": "tools/train_csdi.py --out DIR --ship",
        "Judged": "the README of the method csdi",
        "Licence": "CC BY 4.0, as the data",
    }


if __name__ == "__main__":
    main()
