"""The tour shows every chapter, and one verdict a method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import headwater.experiments.tour as tours
from headwater.experiments.recorded import recorded
from headwater.methods.catalogue import METHODS


def test_every_chapter_has_a_panel() -> None:
    assert {METHODS[name].chapter for name in tours.panels()} == {e.chapter for e in METHODS.values()}


def test_a_panel_tells_the_verdict_of_full_effort_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = tours.claim_of("d3pm-images")
    monkeypatch.setattr(tours, "claim_of", lambda name: replace(claim, quick=claim.tiny))
    found = tours.panel("d3pm-images", 0)
    assert found.outcome is not None
    block = found.sections[0].numbers()["blocks"][-1]
    assert block["verdict"] == recorded()["d3pm-images"].verdict
    assert block["full"] == recorded()["d3pm-images"].measured
    assert block["measured"] == found.outcome.measured


class Inline:
    """A pool that works in this process."""

    def __init__(self, *given: object) -> None: ...

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *given: object) -> None: ...

    def submit(self, work, *given):  # pyright: ignore[reportMissingParameterType]
        from concurrent.futures import Future

        future = Future()
        future.set_result(work(*given))
        return future


def test_the_head_has_a_card_for_each_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    claim = tours.claim_of("d3pm-images")
    monkeypatch.setattr(tours, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(tours, "panels", lambda: ["d3pm-images"])
    monkeypatch.setattr(tours, "claim_of", lambda name: replace(claim, quick=claim.tiny))
    monkeypatch.setattr(tours, "_samples", lambda section, run: section.table(["a", "b"], [["x", "y"]]))
    done = tours.tour(tmp_path, progress=False)
    text = done.page.read_text(encoding="utf-8")
    assert text.count('<li><a href="#s') >= 4  # two cards, two lines of contents
    assert text.index('class="cards"') < text.index("<main")
    assert 'class="badges"' not in text
    assert [o.method for o in done.outcomes] == ["d3pm-images"]
