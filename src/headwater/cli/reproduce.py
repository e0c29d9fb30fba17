"""`headwater reproduce METHOD`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from headwater.atomic import write_file
from headwater.cli.options import parse
from headwater.cli.output import open_output
from headwater.cli.record import PAGE, write_record
from headwater.cli.work import Switch, answer, as_json
from headwater.errors import need
from headwater.experiments.harness import Claim, Reproduction, claim_of
from headwater.locks import locked
from headwater.report import Page

_NUMBERS = "claim.json"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Test a paper's headline claim on shipped data: OUT/claim.json and a page with pictures."""

    method: Annotated[str, tyro.conf.Positional]
    """Name of the method, or of a chapter whose methods are compared."""
    out: Path | None = None
    """Folder for the results; by default reproduce-METHOD."""
    effort: Literal["quick", "full"] = "full"
    """`quick` takes about a minute; `full` is what a verdict rests on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One repetition each; a verdict wants three or more."""
    keep: Path | None = None
    """Folder for the networks that the claim trains: one that was stopped goes on there."""
    overwrite: Switch = False
    """Replace the results that an earlier run left in OUT."""
    json: Switch = False
    """Print the outcome as JSON."""


def run(argv: Sequence[str]) -> int:
    """Run the claim of a method or a chapter and print its verdict."""
    options = parse(Options, argv, "headwater reproduce")
    claim = claim_of(options.method)
    need(len(options.seeds) > 0, "--seeds: give at least one")
    out = options.out or Path(f"reproduce-{options.method}")
    with locked(out), locked(options.keep):
        return _reproduce(argv, options, claim, out)


def _reproduce(argv: Sequence[str], options: Options, claim: Claim, out: Path) -> int:
    open_output(out, "reproduce", options.method, [_NUMBERS, PAGE], options.overwrite)
    write_record(out, "reproduce", options.method, options, {}, None)
    began = time.monotonic()
    page = Page(options.method, kicker="headwater reproduce")
    how = Reproduction(page, options.effort, options.seeds, not options.json, options.keep)
    outcome = claim.reproduce(how)
    seconds = time.monotonic() - began
    page.provenance(["headwater", "reproduce", *argv], options.seeds, seconds, {"effort": options.effort})
    page.write(out / PAGE)
    values = {
        **dataclasses.asdict(outcome),
        "effort": options.effort,
        "seeds": options.seeds,
    }
    write_file(out / _NUMBERS, as_json(values))
    write_record(out, "reproduce", options.method, options, {}, {}, [_NUMBERS, PAGE])
    sentence = f"{outcome.verdict}: {outcome.claim}\n  {outcome.measured}\n  pictures: {out / PAGE}"
    return answer(options.json, sentence, values)
