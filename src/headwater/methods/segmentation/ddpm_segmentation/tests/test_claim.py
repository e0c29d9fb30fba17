"""The claim's own rule on numbers made up, and that its pictures are apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import headwater.methods.segmentation.ddpm_segmentation.claim as claim
from headwater.data import load
from headwater.experiments.harness import Measurements, Results

GRID = torch.tensor([[0.1, 0.1, 0.1], [0.5, 0.4, 0.2], [0.3, 0.3, 0.3]])
OURS, LOWER = [0.5, 0.6, 0.55], [0.4, 0.5, 0.5]


def judged(
    ours: list[float], supervised: list[float], effort: Any = "full", grid: Tensor = GRID, rank: float = 0.5
) -> tuple[str, str]:
    """The verdict where these are the mean IoUs of each seed, and the conditions in words."""
    parts = [Measurements() for _ in ours]
    for found, own, theirs in zip(parts, ours, supervised, strict=True):
        names = (claim.OURS, claim.RAW, claim.UNTRAINED, claim.PLAIN, claim.SUPERVISED)
        for name, value in zip(names, (own, 0.2, 0.25, 0.3, theirs), strict=True):
            found.add("mean IoU", name, [value])
        found.add("rank correlation of uncertainty and error", claim.OURS, [rank])
    parts[0].samples["grid"] = grid
    settings = replace(getattr(claim, effort.upper()), grid_steps=(50, 250, 800))
    results = Results(claim.CLAIM, settings, effort, tuple(range(len(parts))), parts)
    conditions, verdict = claim.CLAIM.judge(results)
    return verdict, "; ".join(map(str, conditions))


def test_rule() -> None:
    verdict, words = judged(OURS, LOWER)
    assert verdict == "held"
    assert "best block 1 of 0 to 2" in words
    assert "0.450 at t <= 250 against 0.300 at t >= 600" in words
    assert judged(OURS, [0.4, 0.5, 0.56])[0] == "partly"
    assert judged(OURS, LOWER, grid=GRID[:2])[0] == "partly"  # the best block is at the end
    flat = torch.tensor([[0.9, 0.9, 0.95], [0.1, 0.1, 0.1]])
    assert judged([0.1] * 3, LOWER, grid=flat, rank=0.0)[0] == "not held"
    # A brief run trains the supervised network too briefly to judge by it, and never proves the claim.
    verdict, words = judged([0.5], [0.9], "quick")
    assert verdict == "partly"
    assert "too briefly" in words


def test_labelled_judging_and_test_pictures_are_apart() -> None:
    pool, test = (load("emoji-parts-hue", split, 32) for split in ("pool", "test"))
    for seed in range(3):
        learn, judge = claim.draw(pool, claim.FULL, seed)
        assert (len(learn), len(judge)) == (20, claim.FULL.grid_pictures)
        groups = [set(s.meta["id"].tolist()) for s in (learn, judge, test)]
        assert sum(map(len, groups)) == len(set.union(*groups))
    first, second = (claim.draw(pool, claim.FULL, s)[0].names for s in (0, 1))
    assert first != second
