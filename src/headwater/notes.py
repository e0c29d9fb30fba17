"""What a reader took for granted, cut or left out: said in one line each, and kept in the record of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

LOGGER = logging.getLogger("headwater")
"""Where notes go: from Python the usual `logging`, on the command line standard error and run.yaml."""


def note(what: str, where: object = "") -> None:
    """Say what was assumed of a file that can mean several things, or what of it was not used.

    what: a sentence, the same for every file that it holds for; where: the file, option or item. The command
    line says each `what` of the first place and counts the others, so that a folder of a thousand files costs
    two lines.

    A note is for what is right most of the time and must not stay unsaid. Where a guess would be wrong as
    often as right, raise a `UserError` that asks instead.
    """
    where = str(where)
    LOGGER.warning("%s", f"{where}: {what}" if where else what, extra={"what": what, "where": where})


def note_some(what: str, items: Sequence[str], of: int, noun: str = "texts") -> None:
    """Say of how many things something holds, and name the first: `2 of 5 texts had to be cut: a, b`.

    what: goes on after the noun, the same for one and for several. Call it with no items too: nothing is said
    then, but the command line adds up calls of one noun and `what`, and says at the end how many of all.
    """
    level = logging.WARNING if items else logging.DEBUG
    extra = {"what": f"{noun} {what}", "items": list(items), "of": of}
    LOGGER.log(level, "%s", some(f"{noun} {what}", items, len(items), of), extra=extra)


def some(what: str, items: Sequence[str], count: int, of: int) -> str:
    """The sentence of `note_some`, which names the first three items."""
    return f"{count:,} of {of:,} {what}: {', '.join(items[:3])}{' ...' if count > 3 else ''}"
