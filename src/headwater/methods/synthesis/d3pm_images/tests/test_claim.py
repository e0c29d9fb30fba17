"""The claim of D3PM on pictures: one very small run from end to end, and what its verdict rests on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import headwater.methods.synthesis.d3pm_images.claim as claim
from headwater.cli.options import plain
from headwater.experiments.base import Task, reproduction
from headwater.report import Page

SMALL = claim.Setting(1, claim.pace(2), 4, extra=False)


def test_arms_differ_in_the_chain_or_the_head_alone() -> None:
    found = claim.arms(claim.FULL)
    gaussian = found.pop(claim.GAUSSIAN)
    assert len(found) == 3
    for arm in found.values():
        assert replace(arm, chain=gaussian.chain, head=gaussian.head) == gaussian
        assert arm != gaussian


def test_the_verdict_asks_for_fewer_bits() -> None:
    low, high = [[1.0, 1.1, 1.2]], [[2.0, 2.1, 2.2]]

    def judged(**found: list[list[float]]) -> str:
        return claim.conclude(Task(Page("d3pm"), "quick"), SMALL, found, {}).verdict

    assert judged(Gaussian=low, uniform=high) == "held"
    assert judged(Gaussian=low, uniform=low) == "not held"
    assert judged(Gaussian=high, uniform=low) == "not held"


def test_a_small_run_reports_both_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "QUICK", SMALL)
    monkeypatch.setattr(claim, "METHOD", replace(claim.METHOD, T=4, steps=4, levels=4))
    page = Page("d3pm-images")
    outcome = reproduction("d3pm-images")(Task(page, "quick", (0,), progress=False))
    assert set(outcome.metrics["bits_per_dimension"]) == {claim.GAUSSIAN, claim.UNIFORM}
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
    assert page.html().count("Drawn from nothing") == 2
