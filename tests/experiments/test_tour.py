"""The tour shows every chapter."""

from __future__ import annotations

from headwater.experiments.tour import PANELS, brief
from headwater.methods.catalogue import METHODS


def test_every_chapter_has_a_panel() -> None:
    assert set(PANELS) <= set(METHODS)
    assert {METHODS[name].chapter for name in PANELS} == {entry.chapter for entry in METHODS.values()}


def test_the_head_of_the_page_has_the_first_figures_only() -> None:
    assert brief("a: 1; b: 2") == "a: 1; b: 2"
    assert brief("a: 1; b: 2; c: 3", most=10) == "a: 1; b: 2 ..."
    assert brief("too long to be cut; b", most=3) == "too long to be cut ..."
