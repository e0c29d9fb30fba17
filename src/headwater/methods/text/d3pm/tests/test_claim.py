"""D3PM's claim: one very small run from end to end, and what its verdict rests on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import headwater.methods.text.d3pm.claim as claim
from headwater.cli.options import plain
from headwater.experiments.base import Task
from headwater.experiments.d3pm_page import Figures
from headwater.report import Page

SMALL = claim.Setting(1, 2000, claim.pace(3, 1e-3), 4, extra=False)


def test_arms_differ_in_what_is_claimed_alone() -> None:
    absorbing, uniform, *others = claim.text_arms(claim.FULL).values()
    assert replace(uniform, chain="absorbing", auxiliary=absorbing.auxiliary) == absorbing
    assert len(others) == 2


def test_the_verdict_asks_for_both() -> None:
    low, high, mid = [[1.0, 1.1, 1.2]], [[2.0, 2.1, 2.2]], [[1.5, 1.6, 1.7]]
    good = {"absorbing": low, "absorbing at a quarter": mid, "uniform": high, "uniform at a quarter": high}

    def judged(text: dict[str, list[list[float]]]) -> str:
        figures = Figures((0,), 64, text, ngram=[1.0, 1.0, 1.0], order=3, unigram=[4.0])
        return claim.conclude(Task(Page("d3pm"), "quick"), SMALL, figures).verdict

    assert judged(good) == "held"
    assert judged({**good, "absorbing at a quarter": [[9.0, 9.0, 9.0]]}) == "partly"
    assert judged({**good, "uniform": low}) == "not held"


def test_a_small_run_reports_every_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "QUICK", SMALL)
    monkeypatch.setattr(claim, "T", 4)
    monkeypatch.setattr(claim, "TEXT", replace(claim.TEXT, T=4, steps=4, levels=4, width=16, layers=1))
    page = Page("d3pm")
    outcome = claim.reproduce(Task(page, "quick", (0,), progress=False))
    assert set(outcome.metrics["bits_per_character"]) == {
        "absorbing", "absorbing at a quarter", "uniform", "uniform at a quarter"
    }  # fmt: skip
    assert outcome.metrics["ngram"]["bits_per_character"] < outcome.metrics["unigram"]["bits_per_character"]
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
