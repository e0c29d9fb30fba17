"""Put what `headwater fit` left into the gallery: `python tools/ship_fitted.py FIT NAME --makes WHAT`.

FIT is the folder that the fit left, NAME what it ships under, WHAT a few words for its card. The weights
become half precision, run.yaml keeps target, settings and the name of the prior, without paths of this
machine, and the card says by which words of the command line the fit was made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml
from fitted_card import write_card

from headwater.atomic import write_file
from headwater.errors import UserError
from headwater.gallery import folder, names
from headwater.methods.catalogue import trained

UNSAID = ("out", "seed", "batch", "device", "overwrite", "resume", "json", "method")
"""Options that do not say what it was trained on."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Put what `headwater fit` left into the gallery.")
    parser.add_argument("fit", type=Path, help="folder that the fit left")
    parser.add_argument("name", help="what it ships under")
    parser.add_argument("--makes", required=True, help="what it makes of what, in a few words")
    parser.add_argument("--command", required=True, help="the words after `headwater fit` that made it")
    parser.add_argument("--licence", default="CC BY-SA 4.0, as the pictures")
    args = parser.parse_args()
    try:
        ship(args.fit, args.name, args.makes, args.command, args.licence)
    except UserError as error:
        raise SystemExit(f"ship_fitted: {error}") from None


def ship(fit: Path, name: str, makes: str, command: str, licence: str) -> None:
    """Copy one finished fit into the folder `name` of the gallery."""
    record = yaml.safe_load((fit / "run.yaml").read_text(encoding="utf-8"))
    target, options = record["target"], record["options"]
    kind = trained(target)
    done = record["verb"] == "fit" and "outputs" in record
    if kind is None or not done:
        raise UserError(f"{fit.name} holds no finished fit of a method: finish it first")
    fitted = kind.from_pretrained(fit / "fitted")
    out = folder("fitted") / name
    fitted.save_pretrained(out / "fitted", torch.float16)
    prior = {key: options[key] for key in ("prior",) if key in options}
    if not set(prior.values()) <= {*names("priors")}:
        raise UserError(f"{prior['prior']} does not ship: fit on a prior that does")
    kept = {"verb": "fit", "target": target, "options": {**prior, "method": options["method"]}}
    write_file(out / "run.yaml", yaml.safe_dump(kept, sort_keys=False))
    data = [
        f"{key} {value}" for key, value in options.items() if key not in UNSAID and value not in (None, [])
    ]
    rows = {
        "Makes": makes,
        "Data": ", ".join(data),
        "Seed": str(options["seed"]),
        "Made by": f"headwater fit {command}, then tools/ship_fitted.py",
        "Judged": f"the README of the method {target}",
        "Licence": licence,
    }
    write_card(out, fit / "checkpoints", rows)


if __name__ == "__main__":
    main()
