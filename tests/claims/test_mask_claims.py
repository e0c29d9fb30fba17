"""The claims of SegDiff and implicit ensembles on a few pictures, and their verdict on numbers made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from headwater.claims import implicit_ensembles, mask_ensembles, segdiff
from headwater.claims.base import Task
from headwater.claims.mask_ensembles import COUNTS, PLAIN, Arm, Setting, conclude, mean_dice, ranked
from headwater.cli.options import fill
from headwater.methods.segmentation.implicit_ensembles import ImplicitEnsembles
from headwater.methods.segmentation.segdiff import SegDiff
from headwater.report import Page
from headwater.train.optimisation import Optimisation


def task(effort: Any = "quick", seeds: tuple[int, ...] = (0, 1, 2)) -> Task:
    return Task(Page("masks", "a test", "pytest"), effort, seeds, progress=False)


@pytest.mark.parametrize("claim", [segdiff, implicit_ensembles])
def test_runs_and_shows(claim: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny = Setting(side=8, pictures=3, seeds=1, plain=segdiff.plain(2))
    monkeypatch.setattr(claim, "QUICK", tiny)
    monkeypatch.setattr(claim, "SMALL", replace(claim.SMALL, steps=2, channel_mult=(1,), attention=()))
    monkeypatch.setattr(claim, "training", lambda steps: Optimisation(2, 4, 1e-3))
    work = task()
    found = claim.reproduce(work)
    assert found.verdict in ("partly", "not held")
    assert found.settings["seeds"] == [0]
    assert set(found.metrics["dice"]) == set(found.metrics["seconds"]) >= {PLAIN}
    assert len(next(iter(found.metrics["dice"].values()))) == len(COUNTS)
    work.page.provenance(["pytest"], [0])
    work.page.write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "sample 1" in text
    assert "spread" in text


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
    found = conclude(task(effort), "segdiff", "ours", "claim", {"ours": ours, PLAIN: plain}, (PLAIN,))
    assert found.verdict == wanted
    assert f"{seeds} seeds, 30 pictures" in found.measured


def test_nothing_held_when_nothing_is_true() -> None:
    ours = replace(arm([0.5] * 5))
    ours.pixels = [[-0.1, -0.2] * 15] * 3
    ours.errors = [row[::-1] for row in ours.doubts]
    found = conclude(task("full"), "segdiff", "ours", "c", {"ours": ours, PLAIN: arm([0.5])}, (PLAIN,))
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
        ("segdiff", "small", replace(segdiff.SMALL, samples=9, shape=(3, 32, 32))),
        ("implicit-ensembles", "paper", ImplicitEnsembles()),
        ("implicit-ensembles", "small", replace(implicit_ensembles.SMALL, samples=9, shape=(3, 32, 32))),
    ],
)
def test_recipes_say_what_the_code_says(name: str, recipe: str, meant: Any) -> None:
    file = Path(__file__).parents[2] / "recipes" / name / f"{recipe}.yaml"
    found = fill(type(meant), yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
    training = segdiff.training(3000) if recipe == "small" else meant.training
    assert found == replace(meant, training=training)
