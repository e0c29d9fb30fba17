"""Every option of every verb, frozen: a change to them is a change to what users wrote into their scripts."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from headwater import cli
from headwater.cli import options
from headwater.methods.catalogue import METHODS

FROZEN = Path(__file__).parent / "options.txt"
UPDATE = "if this is meant, run: python tests/cli/test_cli_options.py"


class _Asked(Exception):
    """Carries the options class that a verb parses its words into."""


def lines() -> list[str]:
    """One line per command, then its options in order."""
    found = []
    for verb, (module, _) in cli.VERBS.items():
        targets: list[str] = []
        if verb in ("fit", "apply", "evaluate"):
            targets = [*(["prior"] if verb == "fit" else []), *METHODS]
        for target in targets or [""]:
            known = _flags(module, target)
            if known is not None:
                found.append(" ".join(filter(None, [verb, target, *known])))
    return found


def _flags(module: str, target: str) -> list[str] | None:
    """The options of one command, or None if there is no such command."""

    def spy(kind: type, *_: object) -> None:
        raise _Asked(sorted(options.flags(kind)))

    verb = importlib.import_module(f"headwater.cli.{module}")
    if not hasattr(verb, "parse"):
        return ["--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verb, "parse", spy)
        try:
            verb.run([target] if target else [])
        except _Asked as asked:
            return asked.args[0]
        except ValueError:
            return None
    raise AssertionError(f"{module} parsed nothing")


def test_the_options_of_all_verbs_are_the_frozen_ones():
    expected, found = FROZEN.read_text(encoding="utf-8").splitlines(), lines()
    gone, new = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    assert found == expected, "\n".join([*(f"- {g}" for g in gone), *(f"+ {n}" for n in new), UPDATE])


def test_no_option_is_spelt_in_two_ways():
    for line in lines():
        words = [word.replace("no-", "") for word in line.split()]
        assert not any("_" in word for word in words), line
        assert len(words) == len(set(words)) or "--no" in line or "no-" in line, line


if __name__ == "__main__":
    FROZEN.write_text("\n".join(lines()) + "\n", encoding="utf-8")
