"""The one error that the command line turns into a sentence."""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


class UserError(ValueError):
    """Something the user can mend. The message is one sentence that says what to do.

    >>> hw.Prior.from_pretrained("digitz")
    Traceback (most recent call last):
        ...
    headwater.errors.UserError: there is no prior 'digitz': did you mean 'digits'?
    """


class Unequal(UserError):
    """Two ways that must compute the same do not."""


class LeftAlone(UserError):
    """A process that shared the work is gone; it may have said why."""


def shown(value: object) -> str:
    """A value of a file for a sentence about it: `repr`, but of what is long or deep only the beginning."""
    return _SHORT.repr(value)


def need(condition: bool, sentence: str) -> None:
    """Raise UserError(sentence) unless the condition holds."""
    if not condition:
        raise UserError(sentence)
