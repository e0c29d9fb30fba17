"""`headwater tour`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.cli.options import parse
from headwater.cli.work import Switch, answer


@dataclass(frozen=True)
class Options:
    """Run every claim at quick effort on shipped priors and data, and write one page."""

    out: Path = Path("demo")
    """Folder of the page; what a tour left there before is replaced."""
    seed: int = 0
    """Decides every draw."""
    json: Switch = False
    """Print the outcomes as JSON."""


def run(argv: Sequence[str]) -> int:
    """Run the tour and print where its page is."""
    options = parse(Options, argv, "headwater tour")
    from headwater.experiments.tour import tour

    done = tour(options.out, options.seed, progress=not options.json)
    values = {
        "page": str(done.page),
        "seconds": done.seconds,
        "measured": {o.method: o.measured for o in done.outcomes},
    }
    measured = "\n".join(f"  {o.method}: {o.measured}" for o in done.outcomes)
    return answer(options.json, f"{measured}\nDone in {done.seconds:.0f} s. The page is {done.page}", values)
