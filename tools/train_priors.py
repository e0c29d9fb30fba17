"""Train one shipped prior: `python tools/train_priors.py NAME --out DIR [--max-minutes M]`.

The recipe is NAME.yaml of src/headwater/training/recipes. Started again with the
same DIR, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from headwater.errors import UserError
from headwater.training import RECIPES, OutOfTime, Recipe, fit


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one shipped prior; goes on where it stopped.")
    parser.add_argument("name", choices=sorted(p.stem for p in RECIPES.glob("*.yaml")))
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the prior")
    parser.add_argument("--max-minutes", type=float, help="stop after this time; resumable")
    args = parser.parse_args()
    recipe = Recipe.load(RECIPES / f"{args.name}.yaml")
    try:
        fit(recipe, args.out, resume=True, max_minutes=args.max_minutes)
    except OutOfTime as stopped:
        raise SystemExit(f"train_priors: {stopped}; start again with the same folder to go on") from None
    except UserError as error:
        raise SystemExit(f"train_priors: {error}") from None


if __name__ == "__main__":
    main()
