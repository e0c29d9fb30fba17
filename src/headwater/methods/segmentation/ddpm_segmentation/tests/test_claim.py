"""The claim's own rule on numbers made up, and that its pictures are apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import headwater.methods.segmentation.ddpm_segmentation.claim as claim
from headwater.experiments.harness import Measurements, Results

GRID = torch.tensor([[0.1, 0.1, 0.1], [0.5, 0.4, 0.2], [0.3, 0.3, 0.3]])
OURS, LOWER = [0.5, 0.6, 0.55], [0.4, 0.5, 0.5]


def judged(
    ours: list[float], supervised: list[float], effort: Any = "full", grid: Tensor = GRID, rank: float = 0.5
) -> tuple[str, str]:
    """The verdict where these are the mean IoUs of each seed, and the conditions in words."""
    parts = [Measurements() for _ in ours]
    for i, (found, own, theirs) in enumerate(zip(parts, ours, supervised, strict=True)):
        arms = {claim.OURS: own, claim.RAW: 0.05 + 0.001 * i, claim.UNTRAINED: 0.06 - 0.001 * i}
        for name, value in (arms | ({claim.SUPERVISED: theirs} if effort == "full" else {})).items():
            found.add(claim.MIOU, name, [value])
        found.add(claim.RANK, claim.OURS, [rank])
    if effort == "full":
        parts[0].add(claim.MIOU, claim.LONGER, [0.9])
        for found in parts[:2]:  # not every seed labels emoji
            for name, value in ((claim.OURS, 0.6), (claim.UNTRAINED, 0.7)):
                found.add(claim.MIOU_EMOJI, name, [value])
    parts[0].samples["grid"] = grid
    settings = replace(getattr(claim, effort.upper()), grid_steps=(50, 250, 800))
    results = Results(claim.CLAIM, settings, effort, tuple(range(len(parts))), parts)
    conditions, verdict = claim.CLAIM.judge(results)
    return verdict, "; ".join(map(str, conditions))


def test_rule() -> None:
    verdict, words = judged(OURS, LOWER)
    assert verdict == "held"  # neither the longer training nor emoji are required
    assert "best block 1 of 0 to 2" in words
    assert "0.450 at t <= 250 against 0.300 at t >= 600" in words
    assert "emoji parts against untrained features: -0.100" in words
    assert judged(OURS, [0.4, 0.6, 0.56])[0] == "partly"
    assert judged(OURS, LOWER, grid=GRID[:2])[0] == "partly"  # the best block is at the end
    flat = torch.tensor([[0.9, 0.9, 0.95], [0.1, 0.1, 0.1]])
    assert judged([0.01, 0.02, 0.01], LOWER, grid=flat, rank=0.0)[0] == "not held"
    # A brief run leaves the supervised network out, and never proves the claim.
    verdict, words = judged([0.5], [0.9], "quick")
    assert verdict == "partly"
    assert "one draw" in words
    assert claim.SUPERVISED not in words


def test_labelled_judging_and_test_pictures_are_apart() -> None:
    digits = claim.Task.of(claim.DIGITS, 32)
    drawn = [digits.draw(20, 60, seed) for seed in range(5)]
    for learn, judge in drawn:
        assert (len(learn), len(judge)) == (20, 60)
        groups = [set(s.meta["id"].tolist()) for s in (learn, judge, digits.test)]
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert learn.labels is not None
        of_each = [int((learn.labels == k).flatten(1).any(1).sum()) for k in range(11)]
        assert of_each == [20, *[2] * 10]
        shown = learn.labels > 0
        assert torch.equal(shown, learn.images[:, 0] > 0)
    assert drawn[0][0].meta["id"].tolist() != drawn[1][0].meta["id"].tolist()
    emoji = claim.Task.of(claim.EMOJI, 32)
    learn, _ = emoji.draw(20, 10, 0)
    assert not {*learn.meta["id"].tolist()} & {*emoji.test.meta["id"].tolist()}
