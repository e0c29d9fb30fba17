"""The claim's own arithmetic, and one small run of it from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import headwater.methods.segmentation.ddpm_segmentation.claim as claim
from headwater.baselines.supervised import SupervisedUNet, course
from headwater.data import load
from headwater.experiments.base import Task, reproduction
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation
from headwater.models import Prior, PriorConfig
from headwater.report import Page

GRID = torch.tensor([[0.1, 0.1, 0.1], [0.5, 0.4, 0.2], [0.3, 0.3, 0.3]])


def outcome(
    ours: list[float], supervised: list[float], grid: torch.Tensor = GRID, rho: float = 0.5
) -> claim.Outcome:
    scores = {
        claim.DDPM: ours,
        claim.RAW: [0.2] * 3,
        claim.UNTRAINED: [0.25] * 3,
        claim.PLAIN: [0.3] * 3,
        claim.SUPERVISED: supervised,
    }
    return claim.conclude(scores, [rho] * 3, grid, replace(claim.FULL, grid_steps=(50, 250, 800)))


def test_all_parts_hold() -> None:
    found = outcome([0.5, 0.6, 0.55], [0.4, 0.5, 0.5])
    assert found.verdict == "held"
    assert "best block 1 of 0 to 2" in found.measured
    assert "0.450 at t <= 250, 0.300 at t >= 600" in found.measured


def test_one_seed_against_it_is_not_held_in_full() -> None:
    found = outcome([0.5, 0.6, 0.55], [0.4, 0.5, 0.56])
    assert found.verdict == "partly"
    assert not found.metrics["parts"]["beats supervised U-Net"]


def test_a_brief_run_does_not_judge_against_a_brief_training() -> None:
    names = (claim.DDPM, claim.RAW, claim.UNTRAINED, claim.PLAIN, claim.SUPERVISED)
    scores = {name: [0.5] for name in names}
    found = claim.conclude(scores, [0.5], GRID, claim.QUICK)
    assert "beats supervised U-Net" not in found.metrics["parts"]
    assert "too briefly" in found.measured


def test_one_seed_cannot_carry_the_whole_claim() -> None:
    scores = {
        claim.DDPM: [0.5],
        **{n: [0.1] for n in (claim.RAW, claim.UNTRAINED, claim.PLAIN, claim.SUPERVISED)},
    }
    found = claim.conclude(scores, [0.5], GRID, claim.QUICK)
    assert all(found.metrics["parts"].values())
    assert found.verdict == "partly"


def test_a_best_block_at_the_end_counts_against_it() -> None:
    found = outcome([0.5, 0.6, 0.55], [0.4, 0.5, 0.5], GRID[:2])
    assert not found.metrics["parts"]["best block inside"]
    assert found.verdict == "partly"


def test_nothing_holds() -> None:
    flat = torch.tensor([[0.9, 0.9, 0.95], [0.1, 0.1, 0.1]])
    assert outcome([0.1] * 3, [0.5] * 3, flat, rho=0.0).verdict == "not held"


def test_labelled_judging_and_test_pictures_are_apart() -> None:
    pool, test = (load("emoji-parts-hue", split, 32) for split in ("pool", "test"))
    for seed in range(3):
        learn, judge = claim.draw(pool, claim.FULL, seed)
        assert (len(learn), len(judge)) == (20, claim.FULL.judged)
        groups = [set(s.meta["id"].tolist()) for s in (learn, judge, test)]
        assert sum(map(len, groups)) == len(set.union(*groups))
    first, second = (claim.draw(pool, claim.FULL, s)[0].names for s in (0, 1))
    assert first != second


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small untrained prior in place of the shipped one: enough to walk through everything."""
    net = {"kind": "adm", "in_channels": 3, "out_channels": 3, "model_channels": 32, "channel_mult": [1, 2]}
    config = PriorConfig({**net, "num_res_blocks": 1, "attention_resolutions": []}, (3, 16, 16))
    prior = Prior(config.build_network().eval(), config)
    monkeypatch.setattr(claim.Prior, "from_pretrained", lambda name: prior)


@pytest.mark.usefixtures("untrained")
def test_a_small_run_fills_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = replace(
        claim.QUICK,
        method=replace(claim.QUICK.method, blocks=(1, 2), ensemble=2, epochs=1, pixels=512),
        scout=replace(claim.QUICK.scout, epochs=1, pixels=2048),
        supervised=SupervisedUNet(course(4)),
        judged=4,
        samples=4,
    )
    monkeypatch.setattr(claim, "QUICK", small)
    page = Page("DDPM-Seg")
    found = reproduction("ddpm-segmentation")(Task(page, "quick", progress=False))
    assert found.method == "ddpm-segmentation"
    assert set(found.metrics["miou"]) >= {claim.DDPM, claim.RAW, claim.UNTRAINED, claim.SUPERVISED}
    assert all(0 < v < 1 for values in found.metrics["miou"].values() for v in values)
    assert len(page.claims) == 1
    assert page.claims[0].verdict == found.verdict
    json.dumps(found.metrics)
    assert page.write(tmp_path / "page.html").stat().st_size > 20_000


@pytest.mark.parametrize(("name", "meant"), [("paper", DDPMSegmentation()), ("small", claim.METHOD)])
def test_recipes_say_what_the_code_says(name: str, meant: DDPMSegmentation) -> None:
    file = Path(__file__).parents[1] / "recipes" / f"{name}.yaml"
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    assert replace(DDPMSegmentation(), **values) == meant
