"""`headwater list`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from headwater.cli.usage import WrongUsage
from headwater.experiments.recorded import recorded
from headwater.gallery import ABSENT, FOLDERS, names
from headwater.methods.catalogue import METHODS, TABLES

_USAGE = """usage: headwater list [--json]

List the methods by chapter, each with the verdict on its paper's claim (held, partly, not held; see
`headwater show METHOD`), and the priors, fitted methods and data that ship."""


def run(argv: Sequence[str]) -> int:
    """Print methods, priors and data; loads none of them."""
    if "-h" in argv or "--help" in argv:
        print(_USAGE)
        return 0
    for word in argv:
        if word != "--json":
            raise WrongUsage(f"headwater list does not know {word!r}: it takes --json or nothing")
    priors, fitted, data = names("priors"), names("fitted"), names("data")
    verdicts = {name: found.verdict for name, found in recorded().items()}
    if "--json" in argv:
        methods = {
            k: {"chapter": e.chapter, "summary": e.summary, "verdict": verdicts.get(k)}
            for k, e in METHODS.items()
        }
        tables = {k: {"summary": t.summary, "verdict": verdicts.get(k)} for k, t in TABLES.items()}
        ships = {"priors": priors, "fitted": fitted, "data": data}
        print(json.dumps({"methods": methods, "tables": tables, **ships}, indent=2))
        return 0
    width = max(map(len, METHODS))
    for chapter in dict.fromkeys(e.chapter for e in METHODS.values()):
        print(chapter)
        for name, entry in METHODS.items():
            if entry.chapter == chapter:
                print(f"  {name:<{width}}  {verdicts.get(name, ''):<8}  {entry.summary}")
        for name, table in TABLES.items():
            if table.chapter == chapter:
                summary = f"{table.summary}: `headwater reproduce {name}`"
                print(f"  {'side by side':<{width}}  {verdicts.get(name, ''):<8}  {summary}")
    if not FOLDERS:
        print(f"\nshipped priors, fitted methods and data are in {ABSENT}")
        return 0
    print(f"\nshipped priors: {', '.join(priors)}")
    print(f"shipped and fitted: {', '.join(fitted)}")
    print(f"shipped data: {', '.join(data)}")
    return 0
