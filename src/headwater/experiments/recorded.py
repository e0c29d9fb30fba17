"""The verdicts of full effort, as `headwater reproduce` printed them; kept by tools/record_claim.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # `headwater list` answers without numpy
    from headwater.experiments.comparison import Verdict


@dataclass(frozen=True)
class Recorded:
    """One claim at full effort."""

    verdict: Verdict
    measured: str
    """One sentence with the figures."""
    seeds: tuple[int, ...]
    minutes: int
    """How long that took, on two CPU cores that were at times busy with other work."""


@cache
def recorded() -> dict[str, Recorded]:
    """By method or chapter; one whose claim was not run at full effort is missing."""
    text = (files("headwater") / "experiments" / "recorded.json").read_text(encoding="utf-8")
    return {
        name: Recorded(cast("Verdict", row["verdict"]), row["measured"], tuple(row["seeds"]), row["minutes"])
        for name, row in json.loads(text).items()
    }
