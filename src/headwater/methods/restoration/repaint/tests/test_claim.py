"""The claim's own arithmetic, and one small run of it from end to end on the shipped prior."""

from __future__ import annotations

import json

import pytest
import torch

import headwater.methods.restoration.repaint.claim as claim
from headwater.cli.options import plain
from headwater.core import network_calls
from headwater.experiments.base import Task, reproduction
from headwater.methods.restoration.repaint.method import RePaint
from headwater.report import Page

SMALL = claim.Setting(2, ("half", "expand"), RePaint(steps=6, jump=2, resample=2))


def test_more_steps_costs_what_resampling_costs() -> None:
    walks = claim.arms(claim.FULL.method, 1000)
    calls = {name: network_calls(walk.plan(1000)) for name, walk in walks.items()}
    assert calls["more steps"] == calls["RePaint"]
    assert calls["plain"] == claim.FULL.method.steps < calls["RePaint"]


def test_the_error_counts_the_hole_alone() -> None:
    truth = torch.zeros(2, 3, 4, 4)
    known = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    known[0, :, :2] = True
    filled = truth.clone()
    filled[0, :, 2:] = 1.0
    filled[0, :, :2] = 7.0
    assert claim.hole_error(filled, truth, known).tolist() == [1.0, 0.0]


def test_a_picture_counts_once_however_many_masks_hide_it() -> None:
    values = {"half": [1.0, -2.0], "expand": [3.0, 4.0]}
    assert claim._sizes(values).tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_small_run_reports_every_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "QUICK", SMALL)
    page = Page("repaint")
    outcome = reproduction("repaint")(Task(page, "quick", (0, 1), progress=False))
    assert outcome.verdict in ("held", "partly", "not held")
    assert set(outcome.metrics["hole_error"]) == {"plain", "more steps", "RePaint"}
    assert set(outcome.metrics["seam"]["RePaint"]) == {"half", "expand"}
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
    again = reproduction("repaint")(Task(Page("again"), "quick", (0, 1), progress=False))
    assert again.metrics == outcome.metrics
