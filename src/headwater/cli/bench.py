"""`headwater bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from headwater.cli.options import parse
from headwater.cli.work import Switch, answer
from headwater.errors import need
from headwater.locks import locked


@dataclass(frozen=True)
class Options:
    """Time ours against what one would use instead, alternating, and print medians as ratios.

    Both sides compute the same, which is checked first. Use an otherwise idle machine.
    """

    full: Switch = False
    """The papers' sizes too: about two hours and 10 GB of memory instead of six minutes and 2 GB."""
    only: tuple[
        Literal[
            "core",
            "reverse",
            "training",
            "simplex",
            "pixels",
            "changes",
            "once",
            "gradient",
            "restoring",
            "series",
            "published",
            "quality",
        ],
        ...,
    ] = ()
    """Some comparisons only."""
    markdown: Path | None = None
    """Also write the table as Markdown: a new file, or one between the marks <!-- bench --> and
    <!-- /bench -->."""
    keep: Path | None = None
    """Folder for finished comparisons: a bench that was stopped goes on there."""
    json: Switch = False
    """Print the rows as JSON, and no progress."""


def run(argv: Sequence[str]) -> int:
    """Measure, then print on what it was measured, the table and the curves.

    Raises UserError after that if the two sides of a comparison do not compute the same.
    """
    options = parse(Options, argv, "headwater bench")
    from headwater import bench

    if options.markdown:
        bench.around(options.markdown)  # better said now than after an hour
    where = bench.surroundings()
    with locked(options.keep):
        found = bench.run(options.full, not options.json, options.only, options.keep)
    if options.markdown:
        only = ["--only", *options.only] if options.only else []
        command = " ".join(["headwater bench", *(["--full"] if options.full else []), *only])
        bench.put(options.markdown, bench.markdown(command, where, found))
    head = ", ".join(f"{name} {value}" for name, value in where.items())
    tables = [bench.table(found.rows)] if found.rows else []
    refused = [f"Not timed: {sentence}." for sentence in found.refused]
    values = {"surroundings": where, **asdict(found)}
    answer(options.json, "\n\n".join([head, *tables, *refused, *bench.curves(found.curves)]), values)
    need(
        not found.refused,
        f"bench: {len(found.refused)} of the comparisons did not compute the same: see above",
    )
    return 0
