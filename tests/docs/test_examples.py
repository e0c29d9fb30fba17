"""Every public class shows how it is used, and what it shows is so. Methods' own examples: tests/contract."""

from __future__ import annotations

import doctest
import sys

import pytest
import torch

import headwater as hw
from headwater.methods.catalogue import METHODS

OWN = {entry.attribute for entry in METHODS.values()}
CLASSES = [name for name in hw.__all__ if isinstance(getattr(hw, name), type) and name not in OWN]


@pytest.mark.parametrize("name", CLASSES)
def test_the_example_of_a_class_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    kind = getattr(hw, name)
    space = vars(sys.modules[kind.__module__]) | {"hw": hw, "torch": torch}
    space["prior"] = hw.Prior.from_pretrained("digits")
    found = doctest.DocTestFinder(recurse=False).find(kind, name, globs=space)
    assert any(test.examples for test in found), "the docstring has no example: show a first call, with >>>"
    for test in found:
        said: list[str] = []
        assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
