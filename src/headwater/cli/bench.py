"""`headwater bench`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from headwater.cli.options import parse
from headwater.cli.work import answer


@dataclass(frozen=True)
class Options:
    """Time ours against what one would use instead, alternating, and print medians as ratios.

    Both sides compute the same; that is checked first. Run it on an otherwise idle machine.
    """

    full: bool = False
    """The papers' sizes too: about half an hour and 5 GB of memory instead of four minutes and 2 GB."""
    only: tuple[Literal["core", "reverse", "training", "simplex", "pixels"], ...] = ()
    """Only these comparisons."""
    out: Path | None = None
    """Folder for bench.txt and bench.json."""
    json: bool = False
    """Print the rows as JSON."""


def run(argv: Sequence[str]) -> int:
    """Measure and print the table."""
    options = parse(Options, argv, "headwater bench")
    from headwater import bench

    where = bench.surroundings()
    rows = bench.run(options.full, not options.json, options.only)
    text = f"{where}\n\n{bench.table(rows)}"
    values = {"surroundings": where, "rows": [asdict(row) for row in rows]}
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "bench.txt").write_text(text + "\n", encoding="utf-8")
        (options.out / "bench.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return answer(options.json, text, values)
