"""The claim's own arithmetic, and a small run of it from end to end on made-up verses."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import headwater.methods.text.diffuseq.claim as claim
import headwater.methods.text.diffuseq.claim_arms as arms
from headwater.cli.options import plain
from headwater.codecs import Embedding
from headwater.data.rows import Pairs
from headwater.experiments.base import Task
from headwater.report import Page
from headwater.sampling import Run
from headwater.training import TrainerConfig


def made_up(name: str, split: str) -> Pairs:
    rng, words = random.Random(split), ["thou", "hast", "a", "lamb", "and", "he", "goeth", "home"]
    source = [" ".join(rng.choices(words, k=4)) for _ in range(40)]
    return Pairs("verses", split, source, [s.replace("thou hast", "you have") for s in source], source)


SMALL = claim.Setting(
    4,
    replace(
        claim.QUICK.method,
        T=10,
        steps=3,
        length=16,
        vocabulary=64,
        dim=8,
        hidden=16,
        layers=1,
        feedforward=16,
        candidates=3,
        training=TrainerConfig(3, 4, lr=1e-3),
    ),
    1,
)


@pytest.fixture(autouse=True)
def verses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "load", made_up)
    monkeypatch.setattr(arms, "names", list)
    monkeypatch.setattr(claim, "QUICK", SMALL)


def test_a_small_run_reports_every_arm_and_repeats() -> None:
    page = Page("diffuseq")
    outcome = claim.reproduce(Task(page, "quick", (0, 1), progress=False))
    assert outcome.verdict in ("held", "partly", "not held")
    assert set(outcome.metrics["bleu"]) == {"copied source", "left to right", "one sample", "best of 3"}
    assert set(outcome.metrics["bleu_of_candidates"]) == {"1", "2"}
    assert set(outcome.metrics["training_seconds"]) == {"DiffuSeq", "left to right"}
    assert len(page.claims) == 1
    json.dumps(plain(outcome.metrics))
    page.html()
    again = claim.reproduce(Task(Page("again"), "quick", (0, 1), progress=False))
    timed = ("seconds_per_sentence", "training_seconds")
    kept = [{k: v for k, v in o.metrics.items() if k not in timed} for o in (outcome, again)]
    assert kept[0] == kept[1]


def test_a_quick_run_trains_no_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "QUICK", replace(SMALL, baseline=False))
    page = Page("diffuseq")
    outcome = claim.reproduce(Task(page, "quick", (0,), progress=False))
    assert set(outcome.metrics["bleu"]) == set(outcome.metrics["seconds_per_sentence"]) | {"copied source"}
    assert "left to right" not in page.html()


def test_networks_are_kept_where_the_run_says(tmp_path: Path) -> None:
    keep = Task(Page("diffuseq"), "quick", (0,), False, tmp_path)
    first = claim.reproduce(keep)
    assert {p.name for p in (tmp_path / "seed-0").iterdir()} == {"diffuseq", "autoregressive"}
    again = claim.reproduce(replace(keep, page=Page("again")))
    assert again.metrics["bleu"] == first.metrics["bleu"]
    assert again.metrics["training_seconds"] == first.metrics["training_seconds"]  # not of reading it again


def test_doubt_counts_words_between_two_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    train = arms.Verses.of("train")
    fitted = SMALL.method.fit(train.source, train.target, progress=False)
    monkeypatch.setattr(type(fitted), "codec", property(lambda self: Embedding(self.network.table)))
    method = replace(SMALL.method, steps=1, rounding="none")
    word = fitted.config.tokenizer.size - 1
    for x, wanted in (
        (fitted.network.table[word], 0.0),
        ((fitted.network.table[word] + fitted.network.table[word - 1]) / 2, 1.0),
    ):
        monkeypatch.setattr(type(fitted.network), "forward", lambda self, z, t, x=x: x.expand_as(z).clone())
        assert arms.doubt(method, fitted, ["thou hast"], Run(progress=False)) == [wanted]
