"""`headwater list`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from headwater.cli.usage import WrongUsage
from headwater.experiments.recorded import recorded
from headwater.methods.catalogue import METHODS

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
    priors, fitted, data = shipped_priors(), shipped_fitted(), shipped_data()
    verdicts = {name: found.verdict for name, found in recorded().items()}
    if "--json" in argv:
        methods = {
            k: {"chapter": e.chapter, "summary": e.summary, "verdict": verdicts.get(k)}
            for k, e in METHODS.items()
        }
        print(json.dumps({"methods": methods, "priors": priors, "fitted": fitted, "data": data}, indent=2))
        return 0
    width = max(map(len, METHODS))
    for chapter in dict.fromkeys(e.chapter for e in METHODS.values()):
        print(chapter)
        for name, entry in METHODS.items():
            if entry.chapter == chapter:
                print(f"  {name:<{width}}  {verdicts.get(name, ''):<8}  {entry.summary}")
    print(f"\nshipped priors: {', '.join(priors)}")
    if fitted:
        print(f"shipped and fitted: {', '.join(fitted)}")
    print(f"shipped data: {', '.join(data)}")
    return 0


def shipped_priors() -> list[str]:
    """Names of the priors that come with the package."""
    folder = files("headwater") / "models" / "shipped"
    return (
        sorted(p.name for p in folder.iterdir() if (p / "config.json").is_file()) if folder.is_dir() else []
    )


def shipped_fitted() -> list[str]:
    """Names of the fitted methods that come with the package, for `apply --fitted NAME`."""
    from headwater.gallery import names

    return names()


def shipped_data() -> list[str]:
    """Names of the sets that come with the package."""
    manifest = files("headwater") / "data" / "shipped" / "manifest.json"
    return list(json.loads(manifest.read_text(encoding="utf-8")))
