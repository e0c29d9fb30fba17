"""`headwater show METHOD`."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Sequence

from headwater.cli.options import plain
from headwater.errors import need
from headwater.methods.catalogue import entry

_USAGE = """usage: headwater show METHOD [--json]

Print a method's paper, equations, needs, hyper-parameters with the paper's values, and citation."""


def run(argv: Sequence[str]) -> int:
    """Print what a method is."""
    if "-h" in argv or "--help" in argv:
        print(_USAGE)
        return 0
    names = [word for word in argv if not word.startswith("-")]
    need(
        len(names) == 1 and set(argv) - set(names) <= {"--json"},
        "show takes one method: `headwater list` has them",
    )
    method = entry(names[0]).load()
    fields = {f.name: f.default for f in dataclasses.fields(method)}  # pyright: ignore[reportArgumentType]
    if "--json" in argv:
        paper = dataclasses.asdict(method.paper)
        print(json.dumps({"paper": paper, "needs": method.needs, "options": plain(fields)}, indent=2))
        return 0
    paper = method.paper
    print(
        f"{paper.title}\n{paper.authors}\n{paper.venue} {paper.year}  "
        + (f"arXiv {paper.arxiv}" if paper.arxiv else "")
    )
    print(f"\nClaim: {paper.claim}\nNeeds: {'; '.join(method.needs)}\n\n{inspect.getdoc(method)}\n")
    print("Options, with the paper's values:")
    for name, default in fields.items():
        print(f"  {name} = {default}")
    print(f"\n{paper.bibtex(names[0])}")
    return 0
