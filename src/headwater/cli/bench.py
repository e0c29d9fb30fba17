"""`headwater bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from headwater.cli.options import parse
from headwater.cli.work import Switch, answer


@dataclass(frozen=True)
class Options:
    """Time ours against what one would use instead, alternating, and print medians as ratios.

    Both sides compute the same, which is checked first. Use an otherwise idle machine.
    """

    full: Switch = False
    """The papers' sizes too: about half an hour and 5 GB of memory instead of four minutes and 2 GB."""
    only: tuple[Literal["core", "reverse", "training", "simplex", "pixels"], ...] = ()
    """Some comparisons only."""
    json: Switch = False
    """Print the rows as JSON, and no progress."""


def run(argv: Sequence[str]) -> int:
    """Measure, then print on what it was measured and the table."""
    options = parse(Options, argv, "headwater bench")
    from headwater import bench

    where = bench.surroundings()
    rows = bench.run(options.full, not options.json, options.only)
    head = ", ".join(f"{name} {value}" for name, value in where.items())
    values = {"surroundings": where, "rows": [asdict(row) for row in rows]}
    return answer(options.json, f"{head}\n\n{bench.table(rows)}", values)
