"""`headwater tour`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.cli.options import parse
from headwater.cli.output import open_output
from headwater.cli.record import PAGE, write_record
from headwater.cli.work import Switch, answer
from headwater.locks import locked

_NUMBERS = "numbers.json"


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

    with locked(options.out):
        open_output(options.out, "tour", "", [_NUMBERS, PAGE], False, again=True)
        write_record(options.out, "tour", "", options, {}, None)
        done = tour(options.out, options.seed, progress=not options.json)
        write_record(options.out, "tour", "", options, {}, {}, [_NUMBERS, PAGE])
    values = {
        "page": str(done.page),
        "seconds": done.seconds,
        "measured": {o.method: o.measured for o in done.outcomes},
    }
    measured = "\n".join(f"  {o.method}: {o.measured}" for o in done.outcomes)
    return answer(options.json, f"{measured}\nDone in {done.seconds:.0f} s. The page is {done.page}", values)
