"""The claim's own arithmetic, and one small run of it from end to end."""

from __future__ import annotations

import json

import pytest
import torch

import headwater.methods.robustness.diffpure.claim as claim
from headwater.attacks import PGD, Report, Threat
from headwater.cli.options import plain
from headwater.data import load
from headwater.experiments.base import Task, reproduction
from headwater.methods.robustness.diffpure.claim_models import train_prior
from headwater.report import Page

SMALL = claim.Setting(4, 4, (20, 50, 200), 2, 2, 2, 1, 20, 1, True)
THREAT = Threat("linf", 0.1)


def report(clean: list[int], **held: list[int]) -> Report:
    names = {"naive": claim.NAIVE, "blind": claim.BLIND, "exact": claim.EXACT}
    rows = {names[k]: torch.tensor(v).bool() for k, v in held.items()}
    return Report(THREAT, 3, torch.tensor(clean).bool(), rows)


def found(naive: int, blind: int, exact: int, ode: int, sweep: tuple[int, int, int]) -> claim.Found:
    """Reports of 40 pictures of which so many hold."""

    def first(n: int) -> list[int]:
        return [1] * n + [0] * (40 - n)

    arms = {
        "bare": [report(first(40), exact=first(0))],
        "sde": [report(first(40), naive=first(naive), blind=first(blind), exact=first(exact))],
        "ode": [report(first(40), naive=first(40), blind=first(40), exact=first(ode))],
    }
    levels = {
        t: [report(first(40 - t // 10), exact=first(n))] for t, n in zip((25, 100, 300), sweep, strict=True)
    }
    return claim.Found(THREAT, 100, arms, levels)


def test_every_comparison_of_a_claim_that_holds_is_won() -> None:
    won = claim.required(found(30, 20, 10, 2, (2, 20, 5)))
    assert len(won) == 7
    assert all(c.better for c in won)
    assert {len(c.ours) for c in won} == {40}


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        (found(30, 20, 10, 2, (20, 20, 5)), "rises"),
        (found(30, 20, 9, 2, (2, 9, 10)), "robust at 100, against 300: it falls"),
        (found(20, 20, 10, 2, (2, 20, 5)), "left by a classifier-only"),
        (found(30, 20, 20, 2, (2, 20, 5)), "left by BPDA"),
        (found(30, 20, 10, 10, (2, 20, 5)), "SDE"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_part_can_fail_alone(case: claim.Found, lost: str) -> None:
    failed = [c.what for c in claim.required(case) if not c.better]
    assert len(failed) == 1
    assert lost in failed[0]


def test_attacks_differ_in_what_they_know_alone() -> None:
    known = claim.attacks(claim.FULL)
    assert isinstance(known[claim.BLIND], PGD)
    assert isinstance(known[claim.EXACT], PGD)
    assert known[claim.BLIND] == PGD(20, 16, "bpda")
    assert known[claim.EXACT] == PGD(20, 16, "exact")


def test_training_the_prior_learns() -> None:
    images = load("tiny", "train").images
    eps = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    gaps = []
    for steps in (1, 100):
        prior = train_prior(images, 0, steps, progress=False)
        x = prior.process.combine(images[:64], eps, 200)
        with torch.no_grad():
            gaps.append(float((prior.denoiser(x, 200).x0 - images[:64]).square().mean()))
    assert gaps[1] < 0.8 * gaps[0]


def test_a_small_run_reports_every_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "QUICK", SMALL)
    page = Page("diffpure")
    outcome = reproduction("diffpure")(Task(page, "quick", (0, 1), progress=False))
    assert outcome.verdict in ("held", "partly", "not held")
    assert set(outcome.metrics["arms"]) == {"bare", "sde", "ode", "bare, L2", "sde, L2"}
    assert set(outcome.metrics["sweep"]) == {"20", "50", "200"}
    assert outcome.metrics["level"] == 50
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
    assert "worst case over all attacks" in page.html()
    again = reproduction("diffpure")(Task(Page("again"), "quick", (0, 1), progress=False))
    assert again.metrics == outcome.metrics
