"""DiffuSeq's own parts: what it must learn, rows of two texts, rounding, the baseline, what it refuses."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwater.baselines.autoregressive import Autoregressive
from headwater.controls import GivenRegion
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.catalogue import entry
from headwater.methods.text.diffuseq import claim
from headwater.methods.text.diffuseq.fitted import FittedDiffuSeq
from headwater.methods.text.diffuseq.method import DiffuSeq
from headwater.methods.text.diffuseq.rows import pack, targets
from headwater.sampling import Run
from headwater.training import TrainerConfig
from headwater.training.timesteps import LossSecondMoment

TINY = DiffuSeq(
    T=20, length=9, tokenizer="word", vocabulary=32, dim=8, hidden=16, layers=1, heads=2, feedforward=16,
    training=TrainerConfig(6, 8, lr=1e-3, checkpoint_every=0.0), steps=5, candidates=2,
)  # fmt: skip
SOURCE = ["a b c", "b a c", "c b a", "d e f"]
QUIET = Run(progress=False)


def reversed_words(n: int, seed: int) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    words = [rng.sample("abcdefgh", 3) for _ in range(n)]
    return [" ".join(w) for w in words], [" ".join(w[::-1]) for w in words]


@pytest.fixture(scope="module")
def trained() -> tuple[DiffuSeq, FittedDiffuSeq]:
    """A network that reverses three words."""
    how = TrainerConfig(350, 48, lr=2e-3, decay="linear", ema=0.98)
    method = replace(TINY, hidden=48, layers=2, feedforward=64, dropout=0.0, steps=20, training=how)
    return method, method.fit(*reversed_words(600, 0), **QUIET)


def test_it_learns_to_reverse_words_and_reads_them_in_the_given_source(
    trained: tuple[DiffuSeq, FittedDiffuSeq], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, fitted = trained
    source, target = reversed_words(24, 1)
    found = method.apply(source, fitted, **QUIET)
    assert sum(a == b for a, b in zip(found, target, strict=True)) >= 20
    assert method.evaluate(target, target)["word_f1"] == 1
    monkeypatch.setattr(GivenRegion, "put", lambda self, x, t: x)
    found = replace(method, candidates=1).apply(source, fitted, **QUIET)
    assert sum(a == b for a, b in zip(found, target, strict=True)) <= 12


def test_fewer_candidates_are_the_first_of_more(trained: tuple[DiffuSeq, FittedDiffuSeq]) -> None:
    method, fitted = trained
    source, _ = reversed_words(5, 2)
    whole = method.samples(source, fitted, 3, seed=7, batch_size=4, progress=False)
    later = method.samples(source[3:], fitted, 2, seed=7, progress=False, first=3)
    assert [texts[:2] for texts in whole[3:]] == later
    for name, value in {"sampler": "ddim", "rounding": "none", "top_p": 0.9}.items():
        assert len(replace(method, **{name: value}).apply(source, fitted, **QUIET)) == 5


def test_the_baseline_writes_what_it_would_write_without_its_cache() -> None:
    source, target = reversed_words(200, 0)
    tokenizer = Tokenizer.train(source, 32, "word")
    sizes = replace(TINY, hidden=32, layers=2, dropout=0.0).sizes(tokenizer.size)
    found = Autoregressive.fit(source, target, tokenizer, sizes, TrainerConfig(150, 32, lr=3e-3), **QUIET)
    mixed = [source[0], "a b", source[1]]  # shorter texts are padded in front
    texts, calls = found.write(mixed, **QUIET)
    assert texts[0] == target[0]
    assert texts == [found.write([text], **QUIET)[0][0] for text in mixed]
    assert 3 <= calls <= 9
    rows = pack(tokenizer, mixed, texts, 9)
    best = found.network(rows.ids[:, :-1]).argmax(-1)
    wanted = rows.target[:, 1:] & (rows.ids[:, 1:] != tokenizer.pad)
    assert torch.equal(best[wanted], rows.ids[:, 1:][wanted])


def test_the_history_of_losses_is_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = reversed_words(20, 0)
    method = replace(TINY, T=2, steps=2)  # two timesteps: their loss history is full, and counts, by then
    whole = method.fit(source, target, **QUIET)
    record = LossSecondMoment.record

    def stumble(self: LossSecondMoment, t: torch.Tensor, losses: torch.Tensor) -> None:
        if int(self.seen.sum()) >= 3 * 8:
            raise KeyboardInterrupt
        record(self, t, losses)

    monkeypatch.setattr(LossSecondMoment, "record", stumble)
    with pytest.raises(KeyboardInterrupt):
        method.fit(source, target, progress=False, checkpoint_dir=tmp_path)
    monkeypatch.undo()
    assert method.fit(source, target, progress=False, checkpoint_dir=tmp_path).hash == whole.hash


def test_rows_of_two_texts() -> None:
    tokenizer = Tokenizer.train(SOURCE, 32, "word")
    rows = pack(tokenizer, ["a b"], ["c d e f a b c"], 9)
    a, b, c, d, e, f = tokenizer.split(["a b c d e f"])[0]
    cls, sep = tokenizer.cls, tokenizer.sep
    assert rows.ids.tolist() == [[cls, a, b, sep, c, d, e, f, sep]]
    assert rows.target.tolist() == [[False] * 4 + [True] * 5]
    assert targets(tokenizer, rows) == ["c d e f"]
    long = pack(tokenizer, ["a b c d e f"], None, 9)
    assert long.ids.tolist() == [[cls, a, b, c, sep, *[tokenizer.pad] * 4]]


def test_what_cannot_be_is_said() -> None:
    fitted = TINY.fit(SOURCE, SOURCE, **QUIET)
    for call, given, words in (
        (TINY.fit, ([], []), "no target texts"),
        (TINY.fit, (["a"], ["a", "b"]), "one target for each"),
        (TINY.fit, (["a", " "], ["a", "b"]), "source text 2 is empty"),
        (replace(TINY, steps=21).apply, (SOURCE, fitted), "give a number from 1 to 20"),
        (TINY.apply, (["a", "光 雨"], fitted), "known to the vocabulary in 1 of 2 source texts: '光 雨'"),
        (TINY.apply, ([], fitted), "no source texts"),
    ):
        with pytest.raises(UserError, match=words):
            call(*given, **QUIET)


def test_draws_from_left_to_right_depend_on_their_number_and_source_alone() -> None:
    source, target = reversed_words(100, 0)
    tokenizer = Tokenizer.train(source, 32, "word")
    sizes = replace(TINY, dropout=0.0).sizes(tokenizer.size)
    found = Autoregressive.fit(source, target, tokenizer, sizes, TrainerConfig(30, 32, lr=3e-3), **QUIET)
    whole = claim.sampled(found, source[:5], 1.0, 3, Run(7, 4, progress=False))
    later = claim.sampled(found, source[3:5], 1.0, 2, Run(7, progress=False, first=3))
    assert [texts[:2] for texts in whole[3:]] == later
    assert len({text for texts in whole for text in texts}) > 10
    cold = claim.sampled(found, source[:5], 1e-4, 2, QUIET)
    assert cold == [[text] * 2 for text in found.write(source[:5], **QUIET)[0]]


def test_the_temperature_has_the_quality_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def written(other: object, source: list[str], temperature: float, n: int, run: Run) -> list[list[str]]:
        return [["a b c d" if temperature < 0.7 else "e"] * n] * len(source)

    monkeypatch.setattr(claim, "sampled", written)
    monkeypatch.setattr(DiffuSeq, "samples", lambda *_, **__: [["a b c e", "a b c d"]] * 2)
    two = claim.verses("val", claim.SHORT, 2)
    alike = replace(two, target=["a b c d"] * 2)
    found = claim.matched(TINY, *([None] * 2), alike, QUIET)  # pyright: ignore
    assert found == pytest.approx(0.7, rel=0.02)


def test_the_recipe_stops_by_pairs_that_are_held_out(tmp_path: Path) -> None:
    training = entry("diffuseq").configured("small").training  # pyright: ignore
    assert training.held_out > 0
    assert training.keep_best
    brief = replace(TINY, training=replace(TINY.training, held_out=0.1, evaluate_every=2, keep_best=True))
    brief.fit(*reversed_words(40, 0), progress=False, checkpoint_dir=tmp_path)
    assert '"held_out"' in (tmp_path / "log.jsonl").read_text(encoding="utf-8")
