"""The one error that the command line turns into a sentence."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend. The message is one sentence that says what to do."""


class Unequal(UserError):
    """Two ways that must compute the same do not."""


class LeftAlone(UserError):
    """A process that shared the work is gone; it may have said why."""


def need(condition: bool, sentence: str) -> None:
    """Raise UserError(sentence) unless the condition holds."""
    if not condition:
        raise UserError(sentence)
