"""The claim's own arithmetic, and a small run of it from end to end on a few emoji."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import headwater.methods.text.clip_diffusion_lm.claim as claim
from headwater import gallery as shipped
from headwater.cli.options import fill, plain, read_options
from headwater.data.shipped import Set, load
from headwater.experiments.base import Task
from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM
from headwater.report import Page
from headwater.training import TrainerConfig


def few(name: str, split: str, size: int) -> Set:
    return load(name, split, size).select(torch.arange(12))


def test_a_name_counts_once_however_many_pictures_it_has() -> None:
    found = claim.per_name(["red car", "car", "a dog"], ["red car", "red car", "cat"])
    assert found == [0.0, pytest.approx((1 + 2 / 3) / 2)]


def test_guided_calls_count_twice() -> None:
    cost = {name: claim.calls(arm) for name, arm in claim.arms(claim.FULL.method).items()}
    assert cost == {"guided": 10, "no guidance": 5, "one pass": 2, "ancestral, 20 steps": 40}


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CLIPDiffusionLM:
    """Hardly any training, few pictures, and nothing that ships."""
    small = replace(
        claim.small(2, 2), size=16, dim=8, hidden=8, heads=2, layers=1, training=TrainerConfig(2, 4, lr=1e-3)
    )
    monkeypatch.setattr(claim, "QUICK", claim.Setting(small, 4, 1))
    monkeypatch.setattr(claim, "load", few)
    monkeypatch.setitem(shipped.FOLDERS, "fitted", tmp_path)
    return small


@pytest.mark.usefixtures("method")
def test_a_small_run_reports_every_arm() -> None:
    page = Page("captions")
    outcome = claim.reproduce(Task(page, "quick", (0, 1), progress=False))
    assert outcome.verdict in ("held", "partly", "not held")
    assert outcome.settings["captioner"] == "trained here, 1 times"
    assert {len(v) for v in outcome.metrics["word_f1"].values()} == {2}
    assert {"guided", "nearest picture", "nearest caption"} < set(outcome.metrics["word_f1"])
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
    page.html()


def test_what_ships_is_not_trained_again(
    method: CLIPDiffusionLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = few("emoji", "train", 16)
    method.fit(data.images, data.names or [], progress=False).save_pretrained(
        tmp_path / claim.SHIPPED / "fitted"
    )
    monkeypatch.delattr(CLIPDiffusionLM, "fit")
    outcome = claim.reproduce(Task(Page("captions"), "quick", (0, 1), progress=False))
    assert outcome.settings["captioner"] == "shipped"


def test_the_recipe_is_the_claims_setting() -> None:
    recipe = read_options(Path(__file__).parents[1] / "recipes/small.yaml")
    assert fill(CLIPDiffusionLM, recipe, "small.yaml") == claim.FULL.method
