"""What a reader took for granted, cut or left out: said in one line each, and kept in the record of a run."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence

LOGGER = logging.getLogger("headwater")
"""Where notes go: from Python the usual `logging`, on the command line standard error and run.yaml."""


def printable(text: str) -> str:
    """A text with what would steer a terminal (ESC and the like) written out: a file may be called so."""
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _steers(c) else c for c in text)


def _steers(character: str) -> bool:
    """Whether a character is one of control, half a character, or turns the direction of those around it."""
    turns = character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return turns or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")


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
