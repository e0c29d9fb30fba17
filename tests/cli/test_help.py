"""Every help line is a full plain sentence that stands alone."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import typing
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from headwater import cli
from headwater.cli.methods import helps
from headwater.methods.catalogue import METHODS

VERBS = [
    (verb, target)
    for verb in cli.VERBS
    for target in (
        ["prior", *METHODS] if verb == "fit" else METHODS if verb in ("apply", "evaluate") else [""]
    )
]


class Asked(Exception):
    """What a verb wants to parse."""


def lines(kind: type, prefix: str = "--") -> Iterator[tuple[str, str]]:
    """Options of a dataclass and what their help says, those of nested ones included."""
    said, hints = _said(kind), typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):  # pyright: ignore[reportArgumentType]
        hint, marks = hints[field.name], ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *marks = typing.get_args(hint)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hint):
            yield from lines(typing.cast(type, hint), f"{name}.")
        else:
            own = next((m.help for m in marks if getattr(m, "help", None)), None)
            yield name, own or said.get(field.name, "")


def _said(kind: type) -> dict[str, str]:
    """What stands below each field, of the classes that were written and not made."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        with contextlib.suppress(OSError):
            found |= helps(owner)
    return found


@pytest.mark.parametrize(("verb", "target"), VERBS)
def test_every_help_line_is_a_sentence(verb: str, target: str) -> None:
    module = importlib.import_module(f"headwater.cli.{cli.VERBS[verb][0]}")
    if not hasattr(module, "parse"):
        return

    def spy(kind: type, *_: object) -> None:
        raise Asked(kind)

    with patch.object(module, "parse", spy):
        try:
            module.run([target] if target else [])
        except Asked as asked:
            found = dict(lines(asked.args[0]))
        except ValueError:
            return
    short = {k: v for k, v in found.items() if not (v.endswith(".") and len(v.split()) > 2 and _begins(v))}
    assert not short


def _begins(text: str) -> bool:
    return text[0].isupper() or not text[0].isalpha()
