"""Keep the verdicts of full effort in the package: `python tools/record_claim.py OUT/claim.json ...`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from headwater.atomic import read_json, write_file
from headwater.errors import UserError, need
from headwater.methods.catalogue import METHODS, TABLES

PLACE = Path(__file__).parent.parent / "src" / "headwater" / "experiments" / "recorded.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep what `headwater reproduce METHOD` wrote.")
    parser.add_argument("claim", type=Path, nargs="+", help="claim.json of a run at full effort")
    args = parser.parse_args()
    rows = json.loads(PLACE.read_text(encoding="utf-8")) if PLACE.exists() else {}
    try:
        for file in args.claim:
            said = read_json(file)
            need(said["effort"] == "full", f"{file} is of a quick run: give one of full effort")
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
