"""Every claim, at its smallest: it runs, can be written down, repeats, and goes on from what is on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwater.experiments.comparison import Condition
from headwater.experiments.harness import (
    Claim,
    Measure,
    Measurements,
    Outcome,
    Reproduction,
    Results,
    Trial,
    claim_of,
)
from headwater.methods.catalogue import METHODS, TABLES
from headwater.metrics.statistics import wilson_interval
from headwater.report import Estimate, Heat, Page
from headwater.report.blocks import Claim as ClaimBlock
from headwater.report.blocks import plain
from headwater.report.figures import Curve


def timeless(outcome: Outcome) -> dict[str, Any]:
    """Its metrics without times, as strict JSON would have them."""
    measures = {k: v for k, v in outcome.metrics["measures"].items() if not k.startswith("seconds")}
    return plain({**outcome.metrics, "measures": measures})


@pytest.mark.parametrize("name", [*METHODS, *TABLES])
def test_a_claim_runs_repeats_and_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, page = claim_of(name), Page(name)
    assert claim.method == name
    assert type(claim.tiny) is type(claim.quick) is type(claim.full)
    how = Reproduction(page, "tiny", (0, 1), progress=False, checkpoint_dir=tmp_path)
    outcome = claim.reproduce(how)
    assert outcome.verdict in ("held", "partly", "not held")
    assert outcome.measured
    assert outcome.settings["seeds"] == [0, 1][: claim.quick_seeds]
    json.dumps(plain(asdict(outcome)), allow_nan=False)
    assert [c.verdict for c in page.claims] == [outcome.verdict]
    assert isinstance(page.sections[0].blocks[-1], ClaimBlock)
    assert page.sections[0].thumbnail()
    assert len(page.html()) > 10_000
    elsewhere = Reproduction(Page(name), "tiny", (0, 1), progress=False)
    assert timeless(claim.reproduce(elsewhere)) == timeless(outcome)

    def refuse(settings: object, trial: Trial) -> None:
        raise AssertionError("a finished seed was measured again")

    stored = replace(claim, measure=refuse).reproduce(replace(how, page=Page(name)))
    assert plain(asdict(stored)) == plain(asdict(outcome))


# What the harness itself does, on a claim made up.


def counted(settings: float, trial: Trial) -> None:
    fitted = trial.train("network", lambda run: run.seed, trainings=1)
    units = np.arange(12.0) + trial.seed
    trial.found.add("error", "ours", units, "easy")
    trial.found.add("error", "ours", units + 2, "hard")
    trial.found.add("error", "other", units + settings, "easy")
    trial.found.add("error", "other", units + 2 + settings, "hard")
    trial.found.samples["network"] = fitted


def rule(results: Results[float]) -> list[Condition]:
    return [*results.against("error", "ours", "other")]


MADE_UP = Claim(
    "repaint", "Made up", "A lead.", unit="picture", tiny=0.0, quick=1.0, full=1.0,
    measures={"error": Measure("smaller")}, measure=counted, rule=rule,
)  # fmt: skip


@pytest.fixture
def how(monkeypatch: pytest.MonkeyPatch) -> Reproduction:
    monkeypatch.setattr("headwater.experiments.page.described", lambda settings: {"value": settings})
    return Reproduction(Page("made up"), "full", (0, 1, 2), progress=False)


def results(claim: Claim[float], *seeds: float) -> Results[float]:
    parts = []
    for seed in seeds:
        found = Measurements()
        for case, shift in (("easy", 0.0), ("hard", 2.0)):
            found.add("error", "ours", [seed + shift, seed + shift + 1], case)
        parts.append(found)
    return Results(claim, 0.0, "full", tuple(range(len(seeds))), parts)


def test_a_unit_counts_once_however_many_cases_and_seeds_measure_it() -> None:
    again = results(MADE_UP, 0.0, 10.0)
    assert again.rows("error", "ours").tolist() == [[1.0, 2.0], [11.0, 12.0]]
    assert again.rows("error", "ours", "hard").tolist() == [[2.0, 3.0], [12.0, 13.0]]
    assert again.per_seed("error", "ours") == [1.5, 11.5]
    fresh = results(replace(MADE_UP, new_units=True), 0.0, 10.0)
    assert fresh.rows("error", "ours").tolist() == [[1.0, 2.0, 11.0, 12.0]]
    assert len(again.compare("", ("error", "ours"), 0.0).ours) == 2
    assert len(fresh.compare("", ("error", "ours"), 0.0).ours) == 4
    assert fresh.per_seed("error", "ours") == [1.5, 11.5]  # trainings, each with units of its own


@pytest.mark.parametrize("new_units", [False, True])
def test_an_interval_is_over_trainings_where_each_seed_trained_its_arms(new_units: bool) -> None:
    once = results(replace(MADE_UP, new_units=new_units), 0.0, 10.0, 5.0)
    assert once.compare("", ("error", "ours"), 0.0).trainings == 0
    for part in once.parts:
        part.training_seconds["ours"] = 1.0
    anew = once.compare("", ("error", "ours"), 0.0)
    assert anew.trainings == 3
    # Seeds differ by 5, which three of them cannot average away: Student's t of two degrees of freedom.
    assert anew.high - anew.low > 20
    assert "3 trainings" in str(anew)


def test_a_gain_is_judged_and_a_quick_run_may_be_kept_from_proving(how: Reproduction) -> None:
    outcome = MADE_UP.reproduce(how)
    assert outcome.verdict == "held"
    assert outcome.metrics["comparisons"]["error against other"]["gain"]["mean"] == 1
    assert outcome.metrics["measures"]["error"]["ours"]["hard"]["per_seed"] == [7.5, 8.5, 9.5]
    cautious = replace(MADE_UP, quick_proves=False)
    assert cautious.reproduce(how).verdict == "held"
    assert cautious.reproduce(replace(how, effort="quick")).verdict == "partly"
    assert cautious.reproduce(replace(how, seeds=(0, 1))).verdict == "partly"
    assert MADE_UP.reproduce(replace(how, effort="tiny")).verdict == "not held"


def test_training_is_counted_apart_and_only_once(how: Reproduction) -> None:
    outcome = MADE_UP.reproduce(how)
    assert len(outcome.training_seconds["network"]) == 1
    assert outcome.seconds >= 0


def test_what_lies_finished_is_taken_only_for_the_same_work(how: Reproduction, tmp_path: Path) -> None:
    calls: list[float] = []

    def watched(settings: float, trial: Trial) -> None:
        calls.append(settings)
        counted(settings, trial)

    claim, kept = replace(MADE_UP, measure=watched), replace(how, checkpoint_dir=tmp_path)
    claim.reproduce(kept)
    claim.reproduce(kept)
    assert calls == [1.0] * 3
    claim.reproduce(replace(kept, effort="quick", seeds=(0,)))
    assert len(calls) == 4


def test_figures_of_the_first_seed_come_back_from_disk(how: Reproduction, tmp_path: Path) -> None:
    def drawn(settings: float, trial: Trial) -> None:
        for level in (100, 50):
            for arm, shift in (("ours", 0.0), ("other", 1.0)):
                trial.found.add("error", arm, np.arange(6.0) + level + shift, f"{level}")
        trial.found.add("error", "none", np.arange(6.0), "at all")
        trial.found.add("one level alone", "ours", np.arange(6.0), "100")
        image = torch.full((1, 4, 4), float(trial.seed))
        cells = [image, Heat(image[0], high=3.0)]
        trial.section.pictures(["picture", "map"], [cells], ["a"], [["x", "y"]], "Two.")
        trial.section.table(["arm", "value"], [["ours", Estimate(1.0, 0.5, 3)]], "One.", {"value": "max"})
        trial.section.curve({"line": ([0, 1], [1, 2])}, "x", "y")

    axis = {"error": Measure("smaller", axis="level"), "one level alone": Measure(axis="level")}
    claim = replace(MADE_UP, measure=drawn, measures=axis)
    kept = replace(how, checkpoint_dir=tmp_path)
    claim.reproduce(kept)
    again = replace(kept, page=Page("made up"))
    replace(claim, measure=counted).reproduce(again)  # every seed is read: none is measured again
    assert [type(b).__name__ for b in kept.page.sections[0].blocks].count("Curve") == 2
    blocks, before = (h.page.sections[0].blocks[:4] for h in (again, kept))
    assert blocks == before
    assert [type(block).__name__ for block in blocks] == ["Pictures", "Table", "Curve", "Curve"]
    assert isinstance(line := blocks[3], Curve)
    assert {s.name: (list(s.x), list(s.y)) for s in line.series} == {
        "ours": ([50.0, 100.0], [52.5, 102.5]),
        "other": ([50.0, 100.0], [53.5, 103.5]),
        "none": ([50.0, 100.0], [2.5, 2.5]),
    }


def test_shares_have_tables_of_their_own_with_wilsons_intervals(how: Reproduction) -> None:
    def right(settings: float, trial: Trial) -> None:
        for arm, n in (("ours", 8), ("other", 3)):
            trial.found.add("right", arm, [1.0] * (n + trial.seed) + [0.0] * (10 - n - trial.seed))
            trial.found.add("error", arm, [float(n)] * 10)

    measures = {"right": Measure("larger", share=True), "error": Measure("smaller")}
    replace(MADE_UP, measure=right, measures=measures).reproduce(how)
    shares, errors, *_ = how.page.sections[0].numbers()["blocks"]
    assert shares["header"] == ["arm", "right"]
    low, high = wilson_interval(9, 10)
    assert shares["rows"][0][1] == {"mean": pytest.approx(0.9), "low": low, "high": high}
    assert "Wilson" in shares["caption"]
    assert errors["header"] == ["arm", "error"]
    assert "<strong>90.0 % [59.6, 98.2]</strong>" in how.page.html()


def test_a_measure_without_a_better_way_is_not_compared() -> None:
    shown = replace(MADE_UP, measures={"error": Measure()})
    with pytest.raises(ValueError, match="which way"):
        results(shown, 0.0).compare("", ("error", "ours"), 0.0)
