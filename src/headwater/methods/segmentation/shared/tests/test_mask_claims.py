"""The claims of SegDiff and implicit ensembles on a few pictures, and their verdict on numbers made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from headwater import gallery as shipped
from headwater.cli.options import fill
from headwater.experiments.base import Task
from headwater.methods.segmentation.implicit_ensembles import claim as implicit_ensembles
from headwater.methods.segmentation.implicit_ensembles.method import ImplicitEnsembles
from headwater.methods.segmentation.segdiff import claim as segdiff
from headwater.methods.segmentation.segdiff.method import SegDiff
from headwater.methods.segmentation.shared import mask_claim as mask_ensembles
from headwater.methods.segmentation.shared import mask_claim_networks as mask_networks
from headwater.methods.segmentation.shared.mask_claim import COUNTS, Arm, Setting, conclude, mean_dice, ranked
from headwater.methods.segmentation.shared.mask_claim_networks import (
    CONCATENATED,
    IMPLICIT,
    PLAIN,
    SHIPPED,
    SUM,
)
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.report import Page
from headwater.sampling import Run


def task(effort: Any = "quick", seeds: tuple[int, ...] = (0, 1, 2)) -> Task:
    return Task(Page("masks", "a test", "pytest"), effort, seeds, progress=False)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of one level that draw in two steps; predicting the noise, they mask something untrained."""
    network = UNetArchitecture(32, (1,), 1, (), use_scale_shift_norm=False)
    small = {"network": network, "steps": 2, "predicts": "eps"}
    for name in (SUM, CONCATENATED, IMPLICIT):
        learner = replace(mask_networks.arm(name, 1), **small)
        monkeypatch.setitem(mask_networks.__dict__["_ARMS"], name, learner)
    monkeypatch.setattr(mask_networks, "_SEGDIFF", mask_networks.arm(SUM, 1))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("claim", "arms"), [(segdiff, (SUM, CONCATENATED)), (implicit_ensembles, (IMPLICIT,))]
)
def test_runs_and_shows(
    claim: Any, arms: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(claim, "QUICK", Setting(arms, updates=2, side=8, pictures=3, seeds=1))
    work = task()
    found = claim.reproduce(work)
    assert found.verdict in ("partly", "not held")
    assert found.settings["seeds"] == [0]
    assert list(found.metrics["dice"]) == list(found.metrics["seconds"]) == [*arms, PLAIN]
    assert all(len(found.metrics["dice"][name]) == len(COUNTS) for name in arms)
    assert len(found.metrics["dice"][PLAIN]) == 1
    work.page.provenance(["pytest"], [0])
    work.page.write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "sample 1" in text
    assert "spread" in text


@pytest.mark.usefixtures("tiny")
def test_networks_that_ship_are_not_trained_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(shipped.FOLDERS, "fitted", tmp_path)
    monkeypatch.setattr(mask_networks, "UPDATES", 2)
    learn, masks = mask_networks.pictures("train", 8)
    quiet = Run(progress=False)
    for name, called in SHIPPED.items():
        fitted = mask_networks.fit(mask_networks.arm(name, 2), learn.images, masks, quiet)
        fitted.save_pretrained(tmp_path / called.format(seed=0) / "fitted", torch.float16)
    drawn = Setting((SUM,), updates=2, side=8, pictures=3, seeds=2, shipped=True)
    arms = mask_ensembles.measure(task(), drawn).arms
    assert arms[SUM].seconds == arms[PLAIN].seconds == []
    assert not torch.equal(arms[SUM].curves[0], arms[SUM].curves[1])
    assert torch.equal(arms[PLAIN].curves[0], arms[PLAIN].curves[1])
    # Each seed for itself: the second one has to be trained; so has an arm that gets another time.
    own = mask_ensembles.measure(task(), replace(drawn, shipped=False)).arms
    assert len(own[SUM].seconds) == len(own[PLAIN].seconds) == 1
    assert mask_networks.shipped(PLAIN, 0, 3) is None


def test_every_arm_gets_the_same_time() -> None:
    for name, cost in mask_networks.COSTS.items():
        training = mask_networks.arm(name, 3000).training
        assert training.steps * cost == pytest.approx(3000, rel=1e-3)
        assert training.batch_size == 16


def arm(levels: list[float], wobble: float = 0.0, seeds: int = 3, n: int = 30) -> Arm:
    """Dice levels for each count, and errors that rise with the variance if `wobble` is small."""
    draws = np.random.default_rng(0)
    per = torch.linspace(-0.05, 0.05, n)
    doubt = np.linspace(0.1, 0.2, n)
    made = Arm(curves=[torch.tensor(levels)[:, None] + per for _ in range(seeds)], seconds=[1.0] * seeds)
    made.pixels = [list(0.4 + 0.1 * draws.standard_normal(n)) for _ in range(seeds)]
    made.doubts = [list(doubt) for _ in range(seeds)]
    made.errors = [list(doubt + wobble * draws.standard_normal(n)) for _ in range(seeds)]
    return made


RISING = [0.5, 0.6, 0.65, 0.7, 0.7]


@pytest.mark.parametrize(
    ("ours", "plain", "effort", "seeds", "wanted"),
    [
        (arm(RISING), arm([0.6]), "full", 3, "held"),
        (arm(RISING), arm([0.6]), "quick", 3, "partly"),
        (arm(RISING, seeds=2), arm([0.6], seeds=2), "full", 2, "partly"),
        (arm(RISING), arm([0.8]), "full", 3, "partly"),
        (arm([0.5] * 5), arm([0.4]), "full", 3, "partly"),
        (arm(RISING, wobble=50.0), arm([0.6]), "full", 3, "partly"),
    ],
)
def test_verdict(ours: Arm, plain: Arm, effort: Any, seeds: int, wanted: str) -> None:
    found = conclude(task(effort), "segdiff", "claim", {"ours": ours, PLAIN: plain})
    assert found.verdict == wanted
    assert f"{seeds} seeds, 30 pictures" in found.measured


def test_nothing_held_when_nothing_is_true() -> None:
    ours = replace(arm([0.5] * 5))
    ours.pixels = [[-0.1, -0.2] * 15] * 3
    ours.errors = [row[::-1] for row in ours.doubts]
    found = conclude(task("full"), "segdiff", "c", {"ours": ours, PLAIN: arm([0.5])})
    assert found.verdict == "not held"


def test_measures() -> None:
    truth = torch.zeros(1, 4, 4, dtype=torch.bool)
    truth[:, :2] = True
    right, empty = truth[:, None, None].float(), torch.zeros(1, 1, 1, 4, 4)
    samples = torch.cat([right, right, empty, right, right, empty], 1)
    assert float(mean_dice(samples, truth, 1)) == pytest.approx(4 / 6)
    assert float(mean_dice(samples, truth, 3)) == 1
    doubt, wrong = np.arange(9.0), np.arange(9.0) ** 2
    assert ranked(doubt, wrong) == pytest.approx((1, 1, 1))
    assert ranked(doubt, 0 * wrong) == (0, 0, 0)
    found = mask_ensembles.finite([[0.5, np.nan, 0.1], [0.3, np.nan, np.nan]])
    assert found.tolist() == pytest.approx([0.4, 0.1])


@pytest.mark.parametrize(
    ("name", "recipe", "meant"),
    [
        ("segdiff", "paper", SegDiff()),
        ("segdiff", "small", replace(mask_networks.arm(SUM, 1), shape=(3, 24, 24))),
        ("implicit-ensembles", "paper", ImplicitEnsembles()),
        ("implicit-ensembles", "small", replace(mask_networks.arm(IMPLICIT, 1), shape=(3, 24, 24))),
    ],
)
def test_recipes_say_what_the_code_says(name: str, recipe: str, meant: Any) -> None:
    file = Path(__file__).parents[2] / name.replace("-", "_") / "recipes" / f"{recipe}.yaml"
    found = fill(type(meant), yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
    if recipe == "small":
        arm_name = SUM if name == "segdiff" else IMPLICIT
        wanted = mask_networks.arm(arm_name, round(3000 * mask_networks.COSTS[arm_name])).training
        meant = replace(meant, samples=9, training=wanted)
    assert found == meant
