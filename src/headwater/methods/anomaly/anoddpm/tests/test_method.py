"""AnoDDPM's own laws: its timesteps, its scores, its recipes, and the rule of its claim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from headwater.baselines.anomaly import Autoencoder
from headwater.data.anomalies import brain_cases
from headwater.errors import UserError
from headwater.experiments.harness import Measurements, Results
from headwater.methods.anomaly.anoddpm import claim
from headwater.methods.anomaly.anoddpm.method import AnoDDPM
from headwater.methods.catalogue import entry
from headwater.models import Prior
from headwater.noise import Simplex
from headwater.sampling import Run
from headwater.training import Recipe, fit


def test_the_plan_climbs_once_and_comes_back() -> None:
    assert AnoDDPM(4).plan(1000) == [0, 4, 3, 2, 1, 0]
    assert AnoDDPM(250, 5).plan(1000) == [0, 250, 200, 150, 100, 50, 0]
    with pytest.raises(UserError, match="levels 1 to 100"):
        AnoDDPM(250).plan(100)
    with pytest.raises(UserError, match="1 to 250 steps"):
        AnoDDPM(250, 251).plan(1000)


def test_rates_have_their_own_names() -> None:
    """The reference swaps precision and recall: half the lesion found and nothing else is recall 0.5."""
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    truth[0, 0, :2] = True
    map = torch.zeros(2, 1, 4, 4)
    map[0, 0, 0] = 1.0
    found = AnoDDPM().evaluate(map, map.amax((1, 2, 3)), truth)
    assert (found["precision"], found["recall"], found["image_auroc"]) == (1.0, 0.5, 1.0)
    assert found["dice"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_recipes_of_its_prior(name: str, tmp_path: Path) -> None:
    found = Recipe.load(entry("anoddpm").folder / f"recipes/prior/{name}.yaml")
    law = found.prior_config().law()
    assert isinstance(law, Simplex)
    assert (law == Simplex()) == (name == "paper")
    for i in range(3):
        Image.new("L", (16, 16), 80 * i).save(tmp_path / f"{i}.png")
    network = replace(found.network, model_channels=32, channel_mult=(1,), attention_resolutions=())
    training = replace(found.training, steps=2, batch_size=2, warmup=1)
    tiny = replace(found, data=str(tmp_path), shape=(1, 16, 16), network=network, training=training)
    fit(tiny, tmp_path / "out", progress=False)
    again = Prior.from_pretrained(tmp_path / "out" / "prior")
    assert (again.noise, again.shape) == (law, (1, 16, 16))


# The claim's own parts


@pytest.mark.parametrize(
    ("simplex", "top", "gauss", "verdict"),
    [
        ((0.2, 0.9, 0.3), 200, 0.3, "held"),
        ((0.2, 0.9, 0.3), 100, 0.3, "partly"),  # level 100 was chosen, however good 200 is
        ((0.2, 0.3, 0.9), 300, 0.3, "partly"),
        ((0.1, 0.3, 0.2), 200, 0.9, "partly"),
        ((0.4, 0.3, 0.2), 300, 0.9, "not held"),
    ],
)
def test_the_verdict_follows_the_rule(
    simplex: tuple[float, ...], top: int, gauss: float, verdict: str
) -> None:
    found, spread = Measurements(), torch.linspace(-0.01, 0.01, 20)
    for level, value in zip((100, 200, 300), simplex, strict=True):
        found.add("Dice over level, large", claim.SIMPLEX, value + spread, f"{level}")
    for measure in (f"{m}, {g}" for m in claim.SCORES for g in ("large", "small")):
        found.add(measure, claim.SIMPLEX, max(simplex) + spread)
        found.add(measure, claim.GAUSS, gauss + spread)
    found.samples["chosen"] = {claim.SIMPLEX: {"large": [top, 0.1]}}
    settings = replace(claim.CLAIM.full, levels=(100, 200, 300))
    results = Results(claim.CLAIM, settings, "full", (0, 1, 2), [found] * 3)
    assert claim.CLAIM.judge(results)[1] == verdict


def test_the_autoencoder_has_the_size_of_the_prior() -> None:
    config = Recipe.load(entry("anoddpm").folder / "recipes/prior/small.yaml").prior_config()
    sizes = [sum(p.numel() for p in n.parameters()) for n in (Autoencoder(), config.build_network())]
    assert 0.5 < sizes[0] / sizes[1] < 2


def test_levels_and_thresholds_are_chosen_by_the_dice_of_the_choosing_pictures() -> None:
    cases, settings = brain_cases(2, 9, choosing=True), replace(claim.CLAIM.tiny, levels=(100, 300))
    at = claim.sweep(Prior.from_pretrained("brain"), settings, cases, Run(progress=False))
    levels, limits = claim.choose(at, cases)
    assert set(levels) == set(limits) == {"large", "small", "all"}
    for group in levels:
        groups = () if group == "all" else (group,)
        dice = {
            (t, float(limit)): float(claim.score("Dice", found, cases, float(limit), *groups).mean())
            for t, found in at.items()
            for limit in claim.THRESHOLDS
        }
        level, best = levels[group], max(dice.values())
        assert dice[level, limits[group][level]] == best
        oracle = claim.score("oracle Dice", at[level], cases, 0.0, *groups).mean()
        assert oracle >= best - 1e-9
