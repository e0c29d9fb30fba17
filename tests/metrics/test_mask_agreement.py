"""Measures of mask agreement on cases whose answers can be counted by hand, and against scipy and skimage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from arrays import Golden, close
from headwater.metrics.mask_agreement import (
    agreement,
    area_ratio,
    boundary_f1_over_tolerances,
    energy_distance,
    jaccard,
    regions,
    weighted_coverage,
)
from headwater.metrics.segmentation import dice


def box(top: int, left: int, height: int, width: int, side: int = 12) -> Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_coverage_counts_regions_not_areas() -> None:
    truth = (box(0, 0, 4, 4) | box(8, 8, 2, 2))[None]
    half = (box(0, 0, 4, 2) | box(8, 8, 2, 2))[None]
    disjoint = (box(0, 6, 4, 4) | box(8, 0, 2, 2))[None]
    assert float(weighted_coverage(half, truth)) == pytest.approx((16 * 0.5 + 4 * 1) / 20)
    assert float(weighted_coverage(disjoint, truth)) == 0
    assert float(area_ratio(disjoint, truth)) == 1  # what is reported as WCov by SegDiff's code
    # One region that joins two true ones covers each by its share only.
    joined = (box(0, 0, 4, 4) | box(0, 4, 1, 4) | box(0, 8, 4, 4))[None]
    two = (box(0, 0, 4, 4) | box(0, 8, 4, 4))[None]
    assert float(weighted_coverage(joined, two)) == pytest.approx(16 / 36)
    assert float(jaccard(joined, two)) == pytest.approx(32 / 36)
    # And of two regions inside one true one the better counts, not both.
    pieces = (box(0, 0, 4, 3) | box(0, 4, 4, 2))[None]
    assert float(weighted_coverage(pieces, box(0, 0, 4, 6)[None])) == pytest.approx(12 / 24)


def test_empty_masks() -> None:
    none, some = torch.zeros(1, 12, 12, dtype=torch.bool), box(2, 2, 3, 3)[None]
    for measure in (jaccard, weighted_coverage, area_ratio, boundary_f1_over_tolerances):
        assert float(measure(none, none)) == 1
        assert float(measure(none, some)) == float(measure(some, none)) == 0
        assert float(measure(some, some)) == 1


def test_regions_are_scipys() -> None:
    masks = torch.rand(4, 20, 17, generator=torch.Generator().manual_seed(0)) > 0.6
    for mask, found in zip(masks, regions(masks), strict=True):
        theirs, count = ndimage.label(mask.numpy(), np.ones((3, 3)))
        pairs = {(int(a), int(b)) for a, b in zip(found.flatten(), theirs.flatten(), strict=True)}
        assert len(pairs) == count + 1  # one number of ours for each of theirs
        assert (0, 0) in pairs


def test_outlines_within_a_tolerance() -> None:
    truth = box(3, 3, 5, 5, side=24)[None]
    shifted = box(3, 6, 5, 5, side=24)[None]
    near, far = (boundary_f1_over_tolerances(shifted, truth, k) for k in (1, 5))
    assert 0 < float(near) < float(far) < 1


def test_energy_distance_of_equal_sets_is_zero() -> None:
    masks = torch.stack([box(0, 0, 4, 4), box(0, 2, 4, 4)])
    assert float(energy_distance(masks, masks.flip(0))) == pytest.approx(0)
    # Empty masks agree: half of one set meets half of the other in them, and all other pairs are disjoint.
    none = torch.zeros_like(masks[:1])
    ours, theirs = torch.cat([masks[:1], none]), torch.cat([box(8, 8, 2, 2)[None], none])
    assert float(energy_distance(none, none)) == 0
    assert float(energy_distance(ours, theirs)) == pytest.approx(2 * 3 / 4 - 1 / 2 - 1 / 2)
    # Two sets of one mask each: twice 1 - IoU, IoU = 8 / 24.
    assert float(energy_distance(masks[:1], masks[1:])) == pytest.approx(2 * (1 - 8 / 24))


def test_label_maps() -> None:
    truth = torch.zeros(2, 12, 12, dtype=torch.long)
    truth[0][box(0, 0, 4, 4)] = 1
    truth[1][box(4, 4, 4, 4)] = 2
    guess = truth.clone()
    guess[0][box(0, 2, 4, 2)] = 0  # half of class 1 missed
    found = agreement(guess, truth)
    assert found["dice"] == pytest.approx((2 * 8 / 24 + 1) / 2)
    assert found["iou"] == pytest.approx((0.5 + 1) / 2)
    truth[0][box(0, 2, 4, 2)] = 255  # not judged where the truth is unknown
    assert agreement(guess, truth)["dice"] == 1
    assert agreement(guess, truth)["miou"] == 1
    assert agreement(guess * 0, guess * 0)["dice"] == 1
    with pytest.raises(ValueError, match="one shape"):
        agreement(guess, truth[:1])


def test_segdiffs_measures(golden: Callable[[str], Golden]) -> None:
    """Against the arrays of SegDiff's reference code."""
    data = golden("segdiff/metrics")
    p, t = data["in/pred"].bool(), data["in/gt"].bool()
    for found, name in (
        (boundary_f1_over_tolerances(p, t), "fbound"),
        (area_ratio(p, t), "wcov_area"),
        (dice(p, t), "f1"),
        (jaccard(p, t), "jaccard"),
    ):
        close(found, data[f"out/{name}"], 1e-12)
    # What the reference calls weighted coverage is 1 for the disjoint pair; the real one is 0.
    assert area_ratio(p, t)[1] == 1
    assert weighted_coverage(p, t)[1] == 0
