"""The table of all defences hangs into the harness as a claim does."""

from __future__ import annotations

from headwater.experiments.harness import Claim, Reproduction
from headwater.methods.catalogue import METHODS
from headwater.methods.robustness.shared import table_claim as table
from headwater.report import Page


def test_every_defence_has_a_row() -> None:
    defences = {name for name, entry in METHODS.items() if entry.chapter == "robustness"}
    assert {*table.SMALL} <= defences
    claim = Claim(
        "gdmp", "All defences", "", unit="picture", tiny=table.TINY, quick=table.QUICK, full=table.FULL,
        measures=table.MEASURES, measure=table.measure, rule=table.rule, show=table.show,
        statement="Every defence helps.",
    )  # fmt: skip
    page = Page("Defences")
    found = claim.reproduce(Reproduction(page, "tiny", (0,), progress=False))
    assert len(found.metrics["comparisons"]) == 2 * len(table.SMALL)
    tables = [
        block for section in page.sections for block in section.blocks if type(block).__name__ == "Table"
    ]
    assert any("network calls a picture" in str(block) for block in tables)
