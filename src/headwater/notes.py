"""What a reader took for granted, cut or left out: said in one line each, and kept in the record of a run."""

from __future__ import annotations

import logging

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
