"""Test sets of anomaly detection: every kind is in them, and pictures for choosing are apart."""

from __future__ import annotations

import torch

from headwater.data.anomalies import brain_cases, texture_cases


def test_brain_cases_meet_every_contrast_and_keep_scored_slices_apart() -> None:
    found, choosing = (brain_cases(40, seed=0, choosing=c) for c in (False, True))
    assert not set(found.row.tolist()) & set(choosing.row.tolist())
    assert len(set(found.row.tolist())) > 60
    assert not torch.equal(found.truth, brain_cases(40, seed=1).truth)
    for group in ("large", "small"):
        assert len({found.label[i].split("lesion, ")[1] for i in found.rows(group)}) == 12
    small, large = (found.truth[found.rows(g)].float().mean() for g in ("small", "large"))
    assert large > 3 * small
    assert not found.truth[found.rows("healthy")].any()


def test_texture_cases_hold_each_defect() -> None:
    found = texture_cases(4, seed=0)
    assert [len(found.rows(g)) for g in ("blotch", "scratch", "missing patch", "healthy")] == [4] * 4
    assert found.truth.flatten(1).any(1).sum() == 12
