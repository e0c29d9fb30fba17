"""The claim's own arithmetic, and one small run of it from end to end on made-up air."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import headwater.methods.series.csdi.claim as claim
from headwater.cli.options import fill, plain
from headwater.data.series import Table
from headwater.experiments.base import Task, reproduction
from headwater.methods.series.csdi.fitted import Chain
from headwater.methods.series.csdi.method import CSDI
from headwater.metrics.series import LEVELS
from headwater.report import Page
from headwater.training import TrainerConfig

TINY = CSDI(
    length=6, samples=3, chain=Chain(3), layers=1, channels=8, heads=2, step_dim=8, time_dim=8, feature_dim=4,
    training=TrainerConfig(2, 4),
)  # fmt: skip
SMALL = claim.Setting(TINY, 3, (0.2, 0.8), 1)


def made_up(name: str, split: str) -> Table:
    hours = np.arange(60 if split == "train" else 30, dtype=np.float64)
    waves = [np.sin(2 * np.pi * (hours / 24 + k / 5)) for k in range(5)]
    values = np.stack([*waves, hours * 0], 1)
    values[4:7, 0] = np.nan
    return Table(values, hours, (*claim.COLUMNS, "Is"), name)


def case(ratio: float, truth: float, low: float, high: float) -> claim.Case:
    bands = np.linspace(low, high, len(LEVELS))[:, None]
    return claim.Case(ratio, np.array([truth]), np.array([(low + high) / 2]), bands)


def test_a_point_has_its_absolute_error_as_crps() -> None:
    point = case(0.1, 3.0, 1.0, 1.0)
    assert (point.mae, point.crps, point.inside) == pytest.approx((2.0, 2.0, 0.0))
    assert case(0.1, 3.0, 1.0, 5.0).crps < case(0.1, 9.0, 1.0, 5.0).crps


def test_windows_are_averaged_over_ratios_and_kept_apart_by_seed() -> None:
    seed = [case(r, t, 0, 0) for r, t in ((0.1, 1.0), (0.1, 2.0), (0.9, 3.0), (0.9, 6.0))]
    found = claim.Found({"CSDI": [seed, seed]}, [])
    assert found.units("CSDI", lambda c: c.mae).tolist() == [[2.0, 4.0], [2.0, 4.0]]
    assert found.units("CSDI", lambda c: c.mae, 0.9).tolist() == [[3.0, 6.0], [3.0, 6.0]]


def test_hiding_takes_known_cells_and_leaves_one() -> None:
    truth = claim.held_out(made_up("air", "test"), 6, 3)[0]
    known = int(np.isfinite(truth.values).sum())
    for ratio in (0.0, 0.5, 1.0):
        hidden = int(np.isnan(claim.hide(truth, ratio, 1).values).sum()) - (truth.values.size - known)
        assert hidden == min(max(1, round(ratio * known)), known - 1)
    assert not np.array_equal(
        np.isnan(claim.hide(truth, 0.5, 1).values), np.isnan(claim.hide(truth, 0.5, 2).values)
    )


def test_a_small_run_reports_every_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "QUICK", SMALL)
    monkeypatch.setattr(claim, "load", made_up)
    monkeypatch.setattr(claim, "names", list)
    page = Page("csdi")
    outcome = reproduction("csdi")(Task(page, "quick", (0, 1), progress=False))
    assert outcome.verdict in ("held", "partly", "not held")
    assert set(outcome.metrics["arms"]) == {*claim.PROBABILISTIC, *claim.POINTS}
    assert len(outcome.metrics["comparisons"]) == 3
    assert all(c["unit"] == "window" for c in outcome.metrics["comparisons"].values())
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
    again = reproduction("csdi")(Task(Page("again"), "quick", (0, 1), progress=False))
    assert again.metrics == outcome.metrics


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("paper", CSDI()),
        ("small", replace(claim.FULL.method, samples=50, overlap=12)),
        ("forecast", CSDI(length=192, strategy="test", horizon=24)),
    ],
)
def test_recipes_say_what_the_code_says(name: str, meant: CSDI) -> None:
    file = Path(__file__).parents[1] / "recipes" / f"{name}.yaml"
    found = fill(CSDI, yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
    steps = {"small": 4000, "forecast": 70_000, "paper": 35_000}[name]
    assert found.training.steps == steps
    ours = replace(meant, training=replace(meant.training, steps=steps, batch_size=found.training.batch_size))
    assert found == ours
