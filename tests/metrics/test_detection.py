from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from headwater.metrics.detection import Counts, auroc, average_precision, best_dice, dice_over, roc_curve
from headwater.metrics.image import mse
from headwater.metrics.segmentation import dice


@pytest.fixture(params=[3, 40, 10_000])
def scored(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with many, some and almost no ties."""
    g = torch.Generator().manual_seed(request.param)
    positive = torch.rand(15, 20, generator=g) < 0.3
    raw = torch.rand(15, 20, generator=g) + 0.4 * positive
    return (raw * request.param).round(), positive


def test_curve_and_areas_are_those_of_scikit_learn(
    scored: tuple[torch.Tensor, torch.Tensor],
) -> None:
    s, p = scored
    fpr, tpr, levels = oracle.roc_curve(p.flatten(), s.flatten(), drop_intermediate=False)
    roc = roc_curve(s, p)
    np.testing.assert_allclose(roc.false_positive_rate, fpr, atol=1e-15)
    np.testing.assert_allclose(roc.true_positive_rate, tpr, atol=1e-15)
    np.testing.assert_array_equal(roc.thresholds, levels)
    assert auroc(s, p) == pytest.approx(oracle.roc_auc_score(p.flatten(), s.flatten()), abs=1e-14)
    expected = oracle.average_precision_score(p.flatten(), s.flatten())
    assert average_precision(s, p) == pytest.approx(expected, abs=1e-14)


def test_auroc_is_exact_on_ties() -> None:
    assert auroc(torch.zeros(7), torch.arange(7) < 3) == 0.5
    s = torch.tensor([1.0, 1.0, 0.0, 2.0])
    p = torch.tensor([True, False, False, True])
    # Of four pairs three are won and one is a tie.
    assert auroc(s, p) == 3.5 / 4
    assert auroc(-s, p) == 0.5 / 4


def test_best_dice_is_the_best_of_every_threshold(
    scored: tuple[torch.Tensor, torch.Tensor],
) -> None:
    s, p = scored
    by_hand = {float(v): Counts.of(s >= v, p).dice for v in s.unique()}
    value, threshold = best_dice(s, p)
    assert value == pytest.approx(max(by_hand.values()), abs=1e-15)
    assert by_hand[threshold] == pytest.approx(value, abs=1e-15)


def test_dice_over_thresholds_is_that_of_each_picture(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    s, p = (v.unflatten(0, (5, 3)) for v in scored)
    limits = s.flatten().quantile(torch.tensor([0.2, 0.5, 0.9]))
    for i, row in enumerate(dice_over(s, p, limits)):
        by_hand = [Counts.of(s[i].double() >= v, p[i]).dice for v in limits.double()]
        assert row.tolist() == pytest.approx(by_hand)


def test_rates_carry_the_names_of_the_field(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    s, p = scored
    guess = s >= s.median()
    t, q = p.flatten().numpy(), guess.flatten().numpy()
    counts = Counts.of(guess, p)
    assert counts.precision == pytest.approx(oracle.precision_score(t, q))
    assert counts.recall == pytest.approx(oracle.recall_score(t, q))
    assert counts.false_positive_rate == pytest.approx(1 - oracle.recall_score(~t, ~q))
    assert counts.iou == pytest.approx(oracle.jaccard_score(t, q))
    assert counts.dice == pytest.approx(oracle.f1_score(t, q))
    assert math.isnan(Counts(0, 0, 3, 3).precision)


def test_what_cannot_be_ranked_is_refused() -> None:
    s = torch.tensor([0.1, 0.2])
    with pytest.raises(ValueError, match="one positive and one negative"):
        auroc(s, torch.tensor([True, True]))
    with pytest.raises(ValueError, match="NaN"):
        auroc(torch.tensor([0.1, math.nan]), torch.tensor([True, False]))
    with pytest.raises(ValueError, match="bool truth"):
        auroc(s, s)


def test_anoddpm_reference_metrics(golden: Callable[[str], Any]) -> None:
    g = golden("anoddpm/metrics")
    real, recon, mask = g["in/real"], g["in/recon"], g["in/mask"] > 0.5
    error = (real - recon).square()
    found = error > 0.5
    assert torch.equal(found, g["out/pred"] > 0.5)
    counts = Counts.of(found, mask)
    expected = {name: float(g[f"out/{name}"]) for name in ("dice", "iou", "auc", "psnr")}
    assert float(dice(found, mask, smooth=1e-6).mean()) == pytest.approx(expected["dice"], abs=1e-6)
    assert counts.iou == pytest.approx(expected["iou"], abs=1e-6)
    assert auroc(error, mask) == pytest.approx(expected["auc"], abs=1e-6)
    # Peak is the largest pixel there, and the error is pooled over the batch.
    peak, pooled = float(real.max()), float(mse(real, recon).mean())
    assert 10 * math.log10(peak**2 / pooled) == pytest.approx(expected["psnr"], abs=1e-5)
    # The reference swaps these names; ours are the field's.
    assert counts.recall == pytest.approx(float(g["out/precision_as_reported"]), abs=1e-6)
    assert counts.precision == pytest.approx(float(g["out/recall_as_reported"]), abs=1e-6)
    assert counts.false_omission_rate == pytest.approx(float(g["out/fpr_as_reported"]), abs=1e-6)
