"""The claim's own arithmetic, and one small run of it from end to end on the shipped prior."""

from __future__ import annotations

import json

import pytest
import torch

import headwater.methods.medical.score_mri.claim as claim
from headwater.cli.options import plain
from headwater.experiments.base import Task
from headwater.methods.medical.score_mri.claim_cases import CASES, reconstruct_by_tv, scan, zero_filled
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.report import Page

SMALL = claim.Setting(2, ScoreMRI(steps=4, highest=1.0, samples=2), ("uniform2d",))
TRUTH = torch.zeros(2, 1, 16, 16)
TRUTH[..., 4:12, 5:11] = 0.7


@pytest.mark.parametrize("case", CASES)
def test_scans_belong_to_their_split_and_slice(case: str) -> None:
    here = scan(case, TRUTH, "test", [3, 4], "gaussian1d", 0)  # pyright: ignore[reportArgumentType]
    alone = scan(case, TRUTH[1:], "test", [4], "gaussian1d", 0)  # pyright: ignore[reportArgumentType]
    assert torch.equal(here.kspace[1:], alone.kspace)
    other = scan(case, TRUTH, "train", [3, 4], "gaussian1d", 0)  # pyright: ignore[reportArgumentType]
    assert not torch.equal(here.kspace, other.kspace)
    assert here.acceleration == pytest.approx(4)
    assert here.kspace.shape[1] == (4 if case == "coils" else 1)


def test_baselines_see_the_measured_data_alone() -> None:
    data = scan("coils", TRUTH, "test", [3, 4], "gaussian2d", 0)
    assert zero_filled(data).shape == TRUTH.shape
    better = (reconstruct_by_tv("coils", data, 1e-3) - TRUTH).square().mean()
    assert better < (zero_filled(data) - TRUTH).square().mean()


def test_a_gain_counts_above_three_decibels() -> None:
    def arm(ours: float) -> claim.Arm:
        zero = TRUTH + 0.1
        return claim.Arm("real", "gaussian1d", TRUTH > 2, TRUTH, zero, zero, TRUTH + ours, zero, 4.0)

    assert claim._gain("real", [arm(0.1)]).mean == pytest.approx(-3, abs=1e-4)
    assert claim._gain("real", [arm(0.1 / 10**0.5)]).mean == pytest.approx(7, abs=1e-4)


def test_a_small_run_reports_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "QUICK", SMALL)
    page = Page("score-mri")
    outcome = claim.reproduce(Task(page, "quick", (0,), progress=False))
    assert outcome.verdict in ("held", "partly", "not held")
    assert len(outcome.metrics["comparisons"]) == 10
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
