"""The claim's own arithmetic, and one small run of it from end to end."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import headwater.methods.anomaly.anoddpm.claim as claim
import headwater.methods.anomaly.anoddpm.claim_studies as studies
from headwater.baselines.anomaly import AutoencoderBaseline, autoencoder_anomalies, mean_anomalies
from headwater.experiments.base import Task, reproduction
from headwater.methods.anomaly.anoddpm.claim_arms import Arm, Judged
from headwater.methods.anomaly.anoddpm.claim_cases import Cases, brain_cases, texture_cases
from headwater.methods.anomaly.anoddpm.method import AnoDDPM
from headwater.methods.anomaly.shared.anomalies import Anomalies, image_score
from headwater.models import Prior, PriorConfig
from headwater.nets.autoencoder import Autoencoder, AutoencoderConfig
from headwater.report import Page

LEVELS = (100, 200, 300)
SMALL = replace(
    claim.QUICK,
    levels=LEVELS,
    steps=2,
    per_group=4,
    choosing=2,
    reconstructions=2,
    autoencoder=AutoencoderBaseline(steps=3, batch=4),
    latents=(4, 8),
    slices=104,
    octaves=(1, 2),
    wavelengths=(4.0, 8.0),
)


@pytest.fixture(scope="module")
def cases() -> Cases:
    return brain_cases(10, seed=0, side=16)


def judged(cases: Cases, skill: dict[str, float]) -> Judged:
    """Maps that show the truth of each group through noise: the higher the skill the better."""
    noise = torch.rand(cases.image.shape, generator=torch.Generator().manual_seed(7))
    strength = torch.tensor([skill.get(g, 0.0) for g in cases.group])[:, None, None, None]
    maps = noise + strength * cases.truth
    return Judged(cases, Anomalies(maps, cases.image, image_score(maps)))


def arm(cases: Cases, skills: tuple[float, float, float], prior: Prior) -> Arm:
    """Skill on large lesions at each level; 0.5 on small ones everywhere."""
    scored = {t: judged(cases, {"large": s, "small": 0.5}) for t, s in zip(LEVELS, skills, strict=True)}
    best = LEVELS[skills.index(max(skills))]
    return Arm(prior, {"large": best, "small": 200, "all": best}, scored, scored, scored[best])


@pytest.fixture
def untrained() -> Prior:
    net = {"kind": "adm", "in_channels": 1, "out_channels": 1, "model_channels": 32, "channel_mult": [1]}
    config = PriorConfig({**net, "num_res_blocks": 1, "attention_resolutions": []}, (1, 16, 16))
    return Prior(config.build_network().eval(), config)


@pytest.mark.parametrize(
    ("simplex", "gauss", "verdict"),
    [
        ((0.2, 0.9, 0.3), (0.1, 0.3, 0.2), "held"),
        ((0.2, 0.3, 0.9), (0.1, 0.3, 0.2), "partly"),
        ((0.1, 0.3, 0.2), (0.2, 0.9, 0.3), "partly"),
        ((0.4, 0.3, 0.2), (0.2, 0.9, 0.3), "not held"),
    ],
)
def test_the_verdict_follows_the_rule(
    cases: Cases, untrained: Prior, simplex: tuple[float, ...], gauss: tuple[float, ...], verdict: str
) -> None:
    arms = {
        claim.SIMPLEX: arm(cases, simplex, untrained),  # type: ignore[arg-type]
        claim.GAUSS: arm(cases, gauss, untrained),  # type: ignore[arg-type]
    }
    found = claim.conclude(arms, {}, replace(SMALL, levels=LEVELS), Task(Page("x")))
    assert found.verdict == verdict
    assert found.metrics["gain"]["small"]["auroc"]["gain"]["mean"] == 0
    assert (found.metrics["gain"]["large"]["dice"]["gain"]["mean"] > 0) == (max(simplex) > max(gauss))


def test_scores_leave_untouched_pictures_out(cases: Cases) -> None:
    perfect = judged(cases, {"large": 2.0, "small": 2.0})
    assert perfect.mean("auroc") == perfect.mean("dice", "large") == 1
    assert perfect.dice_at(perfect.threshold) == 1
    assert perfect.image_auroc == 1
    healthy = cases.rows("healthy")
    assert bool(perfect.auroc[healthy].isnan().all())
    assert perfect.healthy_error == pytest.approx(float(perfect.found.map[healthy].mean()))


def test_scored_and_choosing_slices_are_apart() -> None:
    scored = brain_cases(40, seed=0, side=16)
    choosing = brain_cases(40, seed=0, choosing=True, side=16)
    assert not set(scored.place.tolist()) & set(choosing.place.tolist())
    assert len(set(scored.place.tolist())) > 60
    other = brain_cases(40, seed=1, side=16)
    assert not torch.equal(scored.truth, other.truth)


def test_every_size_meets_every_contrast() -> None:
    found = brain_cases(12, seed=3, side=32)
    for group in ("large", "small"):
        labels = {found.label[i].split("lesion, ")[1] for i in found.rows(group)}
        assert len(labels) == 12
    areas = [float(found.truth[found.rows(g)].flatten(1).sum(1).float().mean()) for g in ("small", "large")]
    assert areas[1] > 3 * areas[0]
    assert not found.truth[found.rows("healthy")].any()


def test_texture_cases_hold_each_defect() -> None:
    found = texture_cases(4, seed=0, side=32)
    assert [len(found.rows(g)) for g in ("blotch", "scratch", "missing patch", "healthy")] == [4] * 4
    assert found.truth.flatten(1).any(1).sum() == 12


def test_the_autoencoder_learns_and_the_mean_is_of_neighbours() -> None:
    image = torch.stack([torch.full((1, 16, 16), v) for v in (-0.5, 0.0, 0.5)]).repeat(8, 1, 1, 1)
    baseline = AutoencoderBaseline(AutoencoderConfig(side=16, widths=(16, 16), latent=4), steps=60, batch=8)
    network = baseline.fit(image, progress=False)
    assert autoencoder_anomalies(network, image).map.mean() < 0.02
    same = baseline.fit(image, progress=False)
    for a, b in zip(network.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    place = torch.tensor([0, 1, 10] * 8)
    found = mean_anomalies(image[:3], place[:3], image, place, reach=1)
    torch.testing.assert_close(found.healed[:, 0, 0, 0], torch.tensor([-0.25, -0.25, 0.5]))
    with pytest.raises(ValueError, match="larger reach"):
        mean_anomalies(image[:1], torch.tensor([5]), image, place, reach=2)
    with pytest.raises(ValueError, match="halved"):
        AutoencoderConfig(side=20, widths=(8, 8, 8))


def test_the_autoencoder_is_about_as_large_as_the_priors() -> None:
    from headwater.methods.catalogue import entry
    from headwater.training import Recipe

    recipe = Recipe.load(entry("anoddpm").folder / "recipes/prior/small.yaml")
    prior = sum(p.numel() for p in recipe.prior_config().build_network().parameters())
    assert 0.5 < Autoencoder(AutoencoderConfig()).count() / prior < 2


def test_a_small_run_fills_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, untrained: Prior
) -> None:
    monkeypatch.setattr(claim.Prior, "from_pretrained", lambda name: untrained)
    monkeypatch.setattr(claim, "FULL", replace(SMALL, training=3))
    monkeypatch.setattr(claim, "CHOOSING_SEED", 5)
    given: list[tuple[str, str]] = []

    def trained(data: str, law: tuple[str, object], *rest: object) -> Prior:
        given.append((data, law[0]))
        return untrained

    monkeypatch.setattr(studies, "trained", trained)
    page = Page("AnoDDPM")
    found = reproduction("anoddpm")(Task(page, "full", seeds=(0, 1), progress=False))
    assert found.method == "anoddpm"
    assert found.verdict in ("partly", "not held", "held")
    assert set(found.metrics["arms"]) == {claim.SIMPLEX, claim.GAUSS, claim.AUTOENCODER, claim.MEAN}
    # The same untrained prior stands for both, so that nothing may differ.
    assert found.metrics["gain"]["large"]["dice"]["gain"] == {"mean": 0, "low": 0, "high": 0}
    assert set(found.metrics["noise laws"]) == set(studies.LAWS)
    assert ("brain", "power-law") in given
    assert ("textures", "simplex") in given
    assert [c.verdict for c in page.claims] == [found.verdict]
    assert not math.isnan(found.metrics["textures"]["white"]["dice, scratch"])
    json.dumps(found.metrics)
    assert page.write(tmp_path / "page.html").stat().st_size > 50_000


def test_levels_are_chosen_without_the_scored_pictures(cases: Cases, untrained: Prior) -> None:
    """Other scored pictures leave every chosen level as it was."""
    sweep = claim.Sweep(LEVELS, 2, 1, (0,), progress=False)
    choosing = brain_cases(2, 9, choosing=True, side=16)
    changed = replace(cases, image=cases.image.flip(0), truth=cases.truth.flip(0), group=cases.group[::-1])
    first, second = (sweep.examine(untrained, [c], choosing) for c in (cases, changed))
    assert first.chosen == second.chosen
    best = max(LEVELS, key=lambda t: first.choosing[t].mean("dice", "large"))
    assert first.chosen["large"] == best


@pytest.mark.parametrize(
    ("name", "meant"),
    [("paper", AnoDDPM()), ("small", AnoDDPM(level=250, steps=20, reconstructions=5))],
)
def test_recipes_say_what_the_code_says(name: str, meant: AnoDDPM) -> None:
    file = Path(__file__).parents[1] / "recipes" / f"{name}.yaml"
    assert AnoDDPM(**yaml.safe_load(file.read_text(encoding="utf-8"))) == meant


def test_figures_are_plain_numbers(cases: Cases, untrained: Prior) -> None:
    found = claim.figures(arm(cases, (0.1, 0.5, 0.2), untrained))
    assert all(isinstance(v, float) and not math.isnan(v) for v in found.values())
    assert isinstance(cases.image, Tensor)
