"""The arithmetic of the claim of SegDiff and implicit ensembles, on numbers made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from headwater.cli.options import fill
from headwater.data.annotators import Annotated
from headwater.experiments.harness import Measurements, Results, Trial, claim_of
from headwater.methods.segmentation.shared import mask_claim as claim
from headwater.methods.segmentation.shared.mask_claim import CUTS, DICE, ENERGY, PLAIN, SUM, Settings, arm, at
from headwater.methods.segmentation.shared.supervised import FittedUNet, SupervisedUNet
from headwater.sampling import Run


def test_every_arm_gets_the_same_time() -> None:
    for name, cost in claim.COSTS.items():
        training = arm(name, 3000).training
        assert training.steps * cost == pytest.approx(3000, rel=1e-3)
        assert training.batch_size == 16


def test_every_arm_is_trained_at_the_rate_that_was_best_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {SUM: {5e-4: 0.3, 1e-3: 0.2}, PLAIN: {5e-4: 0.1, 1e-3: 0.4}}
    monkeypatch.setattr(claim, "rates", lambda settings, trial, name: scores[name])
    made, used = claim.arm, dict[str, float | None]()

    def watched(name: str, updates: int, rate: float | None = None, smaller: bool = False) -> Any:
        used[name] = rate
        return made(name, updates, rate, smaller)

    monkeypatch.setattr(claim, "arm", watched)
    settings = replace(claim_of("segdiff").tiny, arms=(SUM,))
    found = Measurements()
    claim.measure(settings, Trial(0, 0, (0,), "quick", False, None, found, {}))
    assert used == {SUM: 5e-4, PLAIN: 1e-3}
    assert found.samples["rates"] == scores
    assert list(found.training_seconds) == [SUM, PLAIN]


def test_rates_are_chosen_on_slices_that_nothing_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = claim.annotated, list[tuple[Any, ...]]()
    monkeypatch.setattr(claim, "annotated", lambda *what: (asked.append(what), made(*what))[1])
    settings, found = claim_of("segdiff").tiny, Measurements()
    found_rates = claim.rates(settings, Trial(7, 0, (7,), "quick", False, None, found, {}), PLAIN)
    assert list(found_rates) == list(claim.CHOICE)
    assert [(head, seed, part) for head, _, _, seed, part in asked] == [
        ("mni", 7, "learn"),
        ("mni", claim.CHOICE_SEED, "choose"),
    ]
    assert (
        claim.rates(replace(settings, choosing=0), Trial(7, 0, (7,), "quick", False, None, found, {}), PLAIN)
        == {}
    )


RISING = (0.5, 0.6, 0.7)


def judged(
    ours: tuple[float, ...], plain: float, effort: Any = "full", energy: float = 0.2, follows: float = 0.8
) -> str:
    """The verdict where Dice is so high for each count, and the plain U-Net has an energy distance of 0.5."""
    draws, per, parts = np.random.default_rng(0), np.linspace(-0.05, 0.05, 30), []
    for _ in range(3):
        found = Measurements()

        def put(measure: str, name: str, level: float, case: str = "", found: Measurements = found) -> None:
            found.add(measure, name, level + per + 1e-4 * draws.standard_normal(), case)

        for count, level in zip(claim.COUNTS, ours, strict=True):
            put(DICE, SUM, level, at(count))
        put(DICE, PLAIN, plain, at(1))
        for name, level in ((SUM, energy), (PLAIN, 0.5), (CUTS, 0.1)):
            put(ENERGY, name, level)
        for name, level in ((SUM, follows), (CUTS, 0.9)):
            put(claim.FOLLOWS, name, level)
        parts.append(found)
    made = claim_of("segdiff")
    return made.judge(Results(made, Settings((SUM,)), effort, (0, 1, 2), parts))[1]


def test_verdict() -> None:
    assert judged(RISING, 0.6) == "held"  # though the cuts of the plain network are nearer to the annotators
    assert judged(RISING, 0.71) == "held"  # worse than the plain network, by less than counts
    assert judged(RISING, 0.6, "quick") == "partly"
    assert judged(RISING, 0.73) == "partly"
    assert judged(RISING[::-1], 0.4) == "partly"  # averaging is of no use
    assert judged(RISING, 0.6, energy=0.6) == "partly"
    assert judged(RISING, 0.6, follows=0.4) == "partly"
    assert judged(RISING[::-1], 0.6, energy=0.6, follows=0.4) == "not held"


def case(*masks: Tensor) -> Annotated:
    """A picture of 4 x 4 with these masks."""
    return Annotated(torch.zeros(1, 1, 4, 4), torch.stack(masks)[None])


def rows(n: int) -> Tensor:
    """The mask of the first n rows of 4 x 4."""
    return torch.arange(4)[:, None].expand(4, 4) < n


def test_dice_is_to_the_majority_where_there_is_one() -> None:
    truth = case(rows(1), rows(2), rows(3), rows(4))  # three see the first two rows, two the third
    samples = torch.stack([rows(n).float() for n in (2, 3, 1)])[None, :, None]
    assert claim.mean_dice(samples[:, :1], truth, 1).tolist() == [1.0]
    assert claim.mean_dice(samples[:, 1:2], truth, 1).tolist() == [1.0]  # the third row is left open
    assert float(claim.mean_dice(samples, truth, 1)) == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert float(claim.mean_dice(samples, truth, 3)) == 1


def test_distance_and_correlation_by_hand() -> None:
    truth, none = case(rows(1), rows(2)), rows(0)
    ours = torch.stack([rows(2), none]).float()[None, :, None]
    # IoU of two rows with one and two: 1/2, 1; of none with either: 0. Of the two annotations: 1/2.
    between, within, theirs = (1 / 2 + 0 + 1 + 1) / 4, (0 + 1 + 1 + 0) / 4, (0 + 1 / 2 + 1 / 2 + 0) / 4
    assert float(claim.distances(ours, truth)) == pytest.approx(2 * between - within - theirs)
    level, rising = torch.ones(1, 2, 2), torch.arange(4.0).view(1, 2, 2)
    assert claim.correlation(rising, 3 * rising + 1).tolist() == pytest.approx([1.0])
    assert claim.correlation(rising, -rising).tolist() == pytest.approx([-1.0])
    assert claim.correlation(level, rising).tolist() == [0.0]


def test_the_plain_network_gives_nine_cuts_of_which_the_fifth_is_its_mask() -> None:
    learner = arm(PLAIN, 1)
    assert isinstance(learner, SupervisedUNet)
    image = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = (image[:, 0] > 0).long()
    fitted = claim.fit(learner, Annotated(image, masks[:, None] > 0), Run(progress=False), True)
    assert isinstance(fitted, FittedUNet)
    cuts = claim.masks_of(learner, fitted, image, Run(progress=False))
    assert cuts.shape == (2, 9, 1, 8, 8)
    assert bool((cuts[:, :-1] >= cuts[:, 1:]).all())
    likely = fitted.probabilities(image, progress=False)
    torch.testing.assert_close(likely.sum(1), torch.ones(2, 8, 8))
    assert torch.equal(cuts[:, 4, 0].long(), fitted.predict(image, progress=False))
    assert torch.equal(cuts.sum(1)[:, 0], (likely[:, 1] * 9 + 0.5).floor().clamp(max=9))


@pytest.mark.parametrize(("name", "kind"), [(SUM, "segdiff"), (claim.IMPLICIT, "implicit_ensembles")])
def test_recipes_are_the_defaults_and_the_claims_settings(name: str, kind: str) -> None:
    small = arm(name, round(3000 * claim.COSTS[name]))
    for recipe, meant in (("paper", type(small)()), ("small", replace(small, samples=claim.CONSENSUS))):
        file = Path(__file__).parents[2] / kind / "recipes" / f"{recipe}.yaml"
        found: Any = fill(type(small), yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
        assert replace(found, shape=None) == meant
