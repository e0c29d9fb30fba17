"""GLIDE's claims: what counts as new, what is measured, and a small run from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import headwater.methods.synthesis.glide.claim as claim
import headwater.methods.synthesis.glide_inpaint.claim as inpaint_claim
from headwater import gallery as shipped
from headwater.cli.options import plain
from headwater.experiments.base import Task, reproduction
from headwater.methods.synthesis.glide.method import Glide
from headwater.metrics.dual_encoder import train_dual_encoder
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.report import Page
from headwater.training import TrainerConfig


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An all but untrained network for pictures of 16x16 under the name of the shipped one."""
    monkeypatch.setitem(shipped.FOLDERS, "fitted", tmp_path)
    method = Glide(
        tokenizer="word", vocabulary=30, length=3, text_width=8, text_layers=1, text_heads=2,
        network=UNetArchitecture(32, (1,), 1, ()), predicts="v", variance="fixed",
        training=TrainerConfig(2, 4, 1e-3),
    )  # fmt: skip
    fitted = method.fit(torch.zeros(4, 3, 16, 16), ["red heart", "cat"] * 2, progress=False)
    fitted.save_pretrained(tmp_path / "glide" / "fitted")
    return tmp_path


def test_new_combinations_are_new_and_of_known_words() -> None:
    train = ["red heart", "blue circle", "cat face"]
    test = ["blue heart", "red heart", "blue heart", "red dog", "face", ""]
    assert claim.new_combinations(train, test) == ["blue heart", "face"]


def test_drawings_are_judged_per_caption() -> None:
    torch.manual_seed(0)
    names = [f"n{i}" for i in range(40)]
    pictures = torch.rand(40, 3, 8, 8) * 2 - 1
    judge = train_dual_encoder(pictures, names, 0, steps=80, batch=40, width=8, dim=16)
    good, same = pictures[:4], pictures[4:6]
    drawn = torch.stack([torch.stack([good[0], good[0]]), torch.stack([good[1], same[0]])])
    found = claim.judged(judge, drawn, names[:2], names, 0)
    assert found["retrieval"].tolist() == [1.0, 0.5]
    assert found["variety"][0] == pytest.approx(0, abs=1e-5)
    assert found["pixel spread"][0] == pytest.approx(0, abs=1e-6)
    apart = judge.image(drawn[1])
    assert float(found["variety"][1]) == pytest.approx(1 - float(apart[0] @ apart[1]), abs=1e-5)


def test_a_small_run_reports_the_trade(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = replace(claim.QUICK.method, steps="2")
    monkeypatch.setattr(claim, "QUICK", claim.Setting(method, (0, 1, 3), 3, 2, 5))
    page = Page("glide")
    outcome = reproduction("glide")(Task(page, "quick", (0, 1), progress=False))
    assert outcome.verdict in ("held", "partly", "not held")
    assert set(outcome.metrics["new combinations"]) == {"scale 0", "scale 1", "scale 3"}
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))


def test_a_small_run_fills_holes_both_ways(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = replace(inpaint_claim.QUICK.method, steps="2", training=TrainerConfig(1, 4, 1e-4))
    monkeypatch.setattr(inpaint_claim, "QUICK", inpaint_claim.Setting(2, ("half",), method))
    page = Page("glide-inpaint")
    outcome = reproduction("glide-inpaint")(Task(page, "quick", (0, 1), progress=False))
    assert len(outcome.metrics["required"]["seam"]["ours"]) == 4
    assert outcome.settings["network"].startswith("fine-tuned")
    json.dumps(plain(outcome.metrics))
