"""The tour shows every chapter."""

from __future__ import annotations

from headwater.claims.tour import PANELS
from headwater.methods.catalogue import METHODS


def test_every_chapter_has_a_panel() -> None:
    assert set(PANELS) <= set(METHODS)
    assert {METHODS[name].chapter for name in PANELS} == {entry.chapter for entry in METHODS.values()}
