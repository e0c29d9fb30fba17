"""A verdict is recorded of a run as its claim describes full effort, and of no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.cli.work import as_json
from headwater.errors import UserError
from headwater.experiments.harness import claim_of
from headwater.experiments.page import described
from tooling import tool

NAME = "repaint"


def said(**changes: Any) -> dict[str, Any]:
    """What `headwater reproduce` writes, as far as it says how the claim was run."""
    settings = json.loads(as_json({"effort": "full", **described(claim_of(NAME).full)}))
    return {"method": NAME, "effort": "full", "seeds": [0, 1, 2], "settings": settings, **changes}


def test_full_effort_is_recorded() -> None:
    tool("record_claim").check(said(), Path("claim.json"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"effort": "quick"}, "is of a quick run"),
        ({"seeds": [0, 1]}, "is of 2 seeds"),
        ({"seeds": [0, 0, 0]}, "is of 1 seeds"),
        ({"settings": {**said()["settings"], "steps": 3}}, "was run with steps 3, and the claim of repaint"),
        ({"settings": {}}, "at full effort has"),
    ],
)
def test_less_than_full_effort_is_not(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tool("record_claim").check(said(**changes), Path("claim.json"))
