"""Keep the verdicts of full effort in the package: `python tools/record_claim.py OUT/claim.json ...`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from headwater.atomic import read_json, write_file
from headwater.cli.work import as_json
from headwater.errors import UserError, need, shown
from headwater.experiments.harness import claim_of
from headwater.experiments.page import described
from headwater.methods.catalogue import METHODS, TABLES

PLACE = Path(__file__).parent.parent / "src" / "headwater" / "experiments" / "recorded.json"


FEWEST = 3
"""Seeds that a verdict rests on."""


def check(said: dict[str, Any], file: Path) -> None:
    """Raise UserError unless the claim was run as its room says that it is run at full effort."""
    need(said["effort"] == "full", f"{file} is of a {said['effort']} run: give one of full effort")
    seeds = len(set(said["seeds"]))
    need(seeds >= FEWEST, f"{file} is of {seeds} seeds: give a run of {FEWEST} or more")
    wanted = json.loads(as_json(described(claim_of(said["method"]).full)))
    found = {key: value for key, value in said["settings"].items() if key not in ("effort", "seeds")}
    other = next((k for k in sorted(wanted.keys() | found.keys()) if wanted.get(k) != found.get(k)), None)
    need(
        other is None,
        f"{file} was run with {other} {shown(found.get(str(other)))}, and the claim of {said['method']} "
        f"at full effort has {shown(wanted.get(str(other)))}: run it again",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep what `headwater reproduce METHOD` wrote.")
    parser.add_argument("claim", type=Path, nargs="+", help="claim.json of a run at full effort")
    args = parser.parse_args()
    rows = json.loads(PLACE.read_text(encoding="utf-8")) if PLACE.exists() else {}
    try:
        for file in args.claim:
            said = read_json(file)
            check(said, file)
            trained = sum(sum(seconds) for seconds in said["training_seconds"].values())
            rows[said["method"]] = {
                "verdict": said["verdict"],
                "measured": said["measured"],
                "seeds": said["seeds"],
                "minutes": max(1, round((said["seconds"] + trained) / 60)),
            }
    except UserError as error:
        raise SystemExit(f"record_claim: {error}") from None
    kept = {k: rows[k] for k in (*METHODS, *TABLES) if k in rows}
    write_file(PLACE, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print("kept; now run `make registers`, which writes the verdicts into the READMEs")


if __name__ == "__main__":
    main()
