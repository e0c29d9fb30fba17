"""Wrong words on the command line: found before anything heavy is loaded, said in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from headwater.errors import UserError
from headwater.methods.catalogue import METHODS, TABLES

TARGETS: dict[str, dict[str, str]] = {
    "show": {},
    "fit": {"prior": "a prior, on pictures of your own"},
    "apply": {},
    "evaluate": {},
    "reproduce": {chapter: table.summary for chapter, table in TABLES.items()},
}
"""Verbs whose first word is a method, and what else that word may be."""


class WrongUsage(UserError):
    """Words that make no sense, as opposed to work that failed: exit code 2."""


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """`did you mean 'x'?` if one of the known words is close, else the other hint."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def check_target(verb: str, words: Sequence[str]) -> None:
    """Raise WrongUsage if the verb takes a method and the first word is none. Needs no torch."""
    if verb not in TARGETS or not words or words[0] in ("-h", "--help"):
        return
    known = [*TARGETS[verb], *METHODS]
    if words[0].startswith("-"):
        raise WrongUsage(f"say the method first: headwater {verb} {{{','.join(known)}}} ...")
    if words[0] not in known:
        hint = nearest(words[0], known, f"choose one of {', '.join(known)}")
        raise WrongUsage(f"no method is called {words[0]!r}: {hint}")


def target_help(verb: str) -> str:
    """What follows a verb that takes a method."""
    known = TARGETS[verb] | {name: entry.summary for name, entry in METHODS.items()}
    width = max(map(len, known))
    lines = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in known.items())
    return f"usage: headwater {verb} NAME ...\n\n{lines}\n\n`headwater {verb} NAME --help` lists the options."
