"""AnoDDPM's own laws: its timesteps, its scores, its recipes, and the cases and baselines of its claim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from headwater.errors import UserError
from headwater.experiments.harness import Measurements, Results
from headwater.methods.anomaly.anoddpm import claim
from headwater.methods.anomaly.anoddpm.claim_baselines import (
    Autoencoder,
    AutoencoderBaseline,
    autoencoder_anomalies,
    mean_anomalies,
)
from headwater.methods.anomaly.anoddpm.claim_cases import brain_cases, texture_cases
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


def recipe(name: str) -> Recipe:
    return Recipe.load(entry("anoddpm").folder / f"recipes/prior/{name}.yaml")


@pytest.mark.parametrize("name", ["small", "paper"])
def test_recipes_of_its_prior(name: str, tmp_path: Path) -> None:
    found = recipe(name)
    assert isinstance(found.prior_config().law(), Simplex)
    assert (found.prior_config().law() == Simplex()) == (name == "paper")
    for i in range(3):
        Image.new("L", (16, 16), 80 * i).save(tmp_path / f"{i}.png")
    network = replace(found.network, model_channels=32, channel_mult=(1,), attention_resolutions=())
    training = replace(found.training, steps=2, batch_size=2, warmup=1)
    tiny = replace(found, data=str(tmp_path), shape=(1, 16, 16), network=network, training=training)
    fit(tiny, tmp_path / "out", progress=False)
    again = Prior.from_pretrained(tmp_path / "out" / "prior")
    assert (again.noise, again.shape) == (found.prior_config().law(), (1, 16, 16))


# The claim's own parts


@pytest.mark.parametrize(
    ("simplex", "gauss", "verdict"),
    [
        ((0.2, 0.9, 0.3), 0.3, "held"),
        ((0.2, 0.3, 0.9), 0.3, "partly"),
        ((0.1, 0.3, 0.2), 0.9, "partly"),
        ((0.4, 0.3, 0.2), 0.9, "not held"),
    ],
)
def test_the_verdict_follows_the_rule(simplex: tuple[float, ...], gauss: float, verdict: str) -> None:
    found, spread = Measurements(), torch.linspace(-0.01, 0.01, 20)
    for level, value in zip((100, 200, 300), simplex, strict=True):
        found.add("Dice over level, large", claim.SIMPLEX, value + spread, f"{level}")
    for measure in claim.measures(claim.LESIONS):
        found.add(measure, claim.SIMPLEX, max(simplex) + spread)
        found.add(measure, claim.GAUSS, gauss + spread)
    settings = replace(claim.CLAIM.full, levels=(100, 200, 300))
    results = Results(claim.CLAIM, settings, "full", (0, 1, 2), [found] * 3)
    assert claim.CLAIM.judge(results)[1] == verdict


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


def test_the_autoencoder_learns_and_the_mean_is_of_neighbours() -> None:
    image = torch.stack([torch.full((1, 16, 16), v) for v in (-0.5, 0.0, 0.5)]).repeat(8, 1, 1, 1)
    baseline = AutoencoderBaseline(60, 8, widths=(16, 16), latent=4)
    network, same = (baseline.fit(image, progress=False) for _ in range(2))
    assert autoencoder_anomalies(network, image, Run()).map.mean() < 0.02
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))
    place = torch.tensor([0, 1, 10] * 8)
    found = mean_anomalies(image[:3], place[:3], image, place, reach=1)
    torch.testing.assert_close(found.reconstruction[:, 0, 0, 0], torch.tensor([-0.25, -0.25, 0.5]))
    with pytest.raises(ValueError, match="larger reach"):
        mean_anomalies(image[:1], torch.tensor([5]), image, place, reach=2)
    sizes = [
        sum(p.numel() for p in n.parameters())
        for n in (Autoencoder(), recipe("small").prior_config().build_network())
    ]
    assert 0.5 < sizes[0] / sizes[1] < 2


def test_levels_are_chosen_by_the_dice_of_the_choosing_pictures() -> None:
    prior, cases = Prior.from_pretrained("brain"), brain_cases(2, 9, choosing=True)
    run = Run(progress=False)
    chosen, _ = claim.choose(prior, (100, 300), 2, cases, run)
    dice = {
        t: claim.score("best Dice", claim.reconstruct(prior, t, 2, 1, cases, run), cases, "large").mean()
        for t in (100, 300)
    }
    assert chosen["large"] == max(dice, key=lambda t: float(dice[t]))
    assert set(chosen) == {"large", "small", "all"}
