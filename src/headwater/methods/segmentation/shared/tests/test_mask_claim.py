"""The arithmetic of the claim of SegDiff and implicit ensembles, on numbers made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from headwater import gallery
from headwater.cli.options import fill
from headwater.experiments.harness import Measurements, Results, Trial, claim_of
from headwater.methods.segmentation.shared import mask_claim as claim
from headwater.methods.segmentation.shared.mask_claim import DICE, PLAIN, SUM, Settings, arm, at
from headwater.metrics.detection import auroc
from headwater.metrics.statistics import spearman
from headwater.sampling import Run


def test_every_arm_gets_the_same_time() -> None:
    for name, cost in claim.COSTS.items():
        training = arm(name, 3000).training
        assert training.steps * cost == pytest.approx(3000, rel=1e-3)
        assert training.batch_size == 16


def test_networks_that_ship_are_not_trained_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(claim, "UPDATES", 2)
    learn, masks = claim.pictures("train", 8)
    for name, called in claim.SHIPPED.items():
        fitted = claim.fit(arm(name, 2, smaller=True), learn.images, masks, Run(progress=False), True)
        fitted.save_pretrained(tmp_path / called.format(seed=0) / "fitted")
    monkeypatch.setitem(gallery.FOLDERS, "fitted", tmp_path)

    def trained(**how: Any) -> list[Measurements]:
        settings = Settings((SUM,), updates=2, side=8, pictures=3, smaller=True, **how)
        found, shared = [Measurements(), Measurements()], {}
        for i, each in enumerate(found):
            claim.measure(settings, Trial(i, i, (0, 1), "quick", False, None, each, shared))
        return found

    first, second = trained(shipped=True)
    assert not first.training_seconds
    assert not second.training_seconds
    values = [[part.values[DICE][name][at(1)] for part in (first, second)] for name in (SUM, PLAIN)]
    assert values[0][0] != values[0][1]  # drawn with other noise
    assert values[1][0] == values[1][1]
    # Each seed for itself: the second one has to be trained; so has an arm that gets another time.
    assert list(trained()[1].training_seconds) == [SUM, PLAIN]
    assert claim.shipped(PLAIN, 0, 3) is None


RISING = (0.5, 0.6, 0.65, 0.7, 0.7)


def judged(
    ours: tuple[float, ...], plain: float, effort: Any = "full", wobble: float = 0.0, way: int = 1
) -> str:
    """The verdict where Dice is so high for each count, and errors rise with the variance if wobble is 0."""
    draws, per, parts = np.random.default_rng(0), np.linspace(-0.05, 0.05, 30), []
    for _ in range(3):
        found, variance = Measurements(), np.linspace(0.1, 0.2, 30)
        for count, level in zip(claim.COUNTS, ours, strict=True):
            found.add(DICE, SUM, level + per, at(count))
        found.add(DICE, PLAIN, plain + per, at(1))
        found.add(claim.RANK, SUM, 0.5 + way * (0.2 + 0.05 * draws.standard_normal(30)))
        found.add("mean variance", SUM, variance)
        found.add("wrong pixels", SUM, (variance + wobble * draws.standard_normal(30))[::way])
        parts.append(found)
    made = claim_of("segdiff")
    return made.judge(Results(made, Settings((SUM,)), effort, (0, 1, 2), parts))[1]


def test_verdict() -> None:
    assert judged(RISING, 0.6) == "held"
    assert judged(RISING, 0.6, "quick") == "partly"
    assert judged(RISING, 0.8) == "partly"  # the plain network is better
    assert judged((0.5,) * 5, 0.4) == "partly"  # averaging is of no use
    assert judged(RISING, 0.6, wobble=50.0) == "partly"  # variance says nothing
    assert judged((0.5,) * 5, 0.5, way=-1) == "not held"


def test_measures() -> None:
    truth = torch.zeros(1, 4, 4, dtype=torch.bool)
    truth[:, :2] = True
    right, empty = truth[:, None, None].float(), torch.zeros(1, 1, 1, 4, 4)
    samples = torch.cat([right, right, empty, right, right, empty], 1)
    assert float(claim.mean_dice(samples, truth, 1)) == pytest.approx(4 / 6)
    assert float(claim.mean_dice(samples, truth, 3)) == 1
    found = claim.over_pixels(np.array([[0.5, np.nan, 0.1], [0.3, np.nan, np.nan]]))
    assert found.tolist() == pytest.approx([0.4, 0.1])


def test_auroc_has_the_sign_of_the_rank_correlation_and_no_bound_below_one() -> None:
    """Two wrong pixels of a hundred, which the variance ranks first: AUROC 1, rank correlation 0.24."""
    wrong, variance = torch.zeros(100, dtype=torch.bool), torch.arange(100.0)
    wrong[-2:] = True
    assert auroc(variance, wrong) == 1.0
    assert spearman(variance.numpy(), wrong.double().numpy()) == pytest.approx(0.24, abs=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        v, w = torch.rand(100, generator=generator), torch.rand(100, generator=generator) < 0.1
        rank = spearman(v.numpy(), w.double().numpy())
        assert (rank > 0) == (auroc(v, w) > 0.5)


@pytest.mark.parametrize(("name", "kind"), [(SUM, "segdiff"), (claim.IMPLICIT, "implicit_ensembles")])
def test_recipes_are_the_defaults_and_the_claims_settings(name: str, kind: str) -> None:
    small = arm(name, round(3000 * claim.COSTS[name]))
    for recipe, meant in (("paper", type(small)()), ("small", replace(small, samples=claim.CONSENSUS))):
        file = Path(__file__).parents[2] / kind / "recipes" / f"{recipe}.yaml"
        found: Any = fill(type(small), yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
        assert replace(found, shape=None) == meant
