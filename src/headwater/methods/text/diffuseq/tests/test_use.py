"""DiffuSeq as a user meets it: pairs in, texts out, folders, wrong input; and what it must learn."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwater.baselines.autoregressive import Autoregressive
from headwater.codecs import Embedding, Identity
from headwater.controls import GivenRegion, Nearest
from headwater.core import Prediction
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.text.diffuseq.fitted import FittedDiffuSeq
from headwater.methods.text.diffuseq.method import DiffuSeq
from headwater.methods.text.diffuseq.sequence_pairs import pack, targets
from headwater.nets.text_denoiser import TextDenoiser, TextDenoiserConfig
from headwater.sampling import Run
from headwater.training import TrainerConfig
from headwater.training.timesteps import LossSecondMoment

LETTERS = list("abcdefgh")
QUIET = Run(progress=False)
TINY = DiffuSeq(
    T=20,
    length=9,
    tokenizer="word",
    vocabulary=32,
    dim=8,
    hidden=16,
    layers=1,
    heads=2,
    feedforward=16,
    dropout=0.1,
    training=TrainerConfig(6, 8, lr=1e-3, checkpoint_every=0.0),
    steps=5,
    candidates=2,
)
SOURCE = ["a b c", "b a c", "c b a", "d e f"]


def reversed_words(n: int, seed: int) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    words = [rng.sample(LETTERS, 3) for _ in range(n)]
    return [" ".join(w) for w in words], [" ".join(w[::-1]) for w in words]


@pytest.fixture(scope="module")
def learnt() -> tuple[DiffuSeq, FittedDiffuSeq]:
    """A network that reverses three words."""
    source, target = reversed_words(600, 0)
    method = replace(
        TINY,
        hidden=48,
        layers=2,
        feedforward=64,
        dropout=0.0,
        steps=20,
        training=TrainerConfig(350, 48, lr=2e-3, decay="linear", ema=0.98),
    )
    return method, method.fit(source, target, **QUIET)


def test_it_learns_to_reverse_words(learnt: tuple[DiffuSeq, FittedDiffuSeq]) -> None:
    method, fitted = learnt
    source, target = reversed_words(24, 1)
    found = method.apply(source, fitted, **QUIET)
    assert sum(a == b for a, b in zip(found, target, strict=True)) >= 20
    assert method.evaluate(target, target)["word_f1"] == 1


def test_the_given_source_is_what_makes_it_read_the_source(
    learnt: tuple[DiffuSeq, FittedDiffuSeq], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, fitted = learnt
    source, target = reversed_words(24, 1)
    monkeypatch.setattr(GivenRegion, "put", lambda self, x, t: x)
    found = replace(method, candidates=1).apply(source, fitted, **QUIET)
    assert sum(a == b for a, b in zip(found, target, strict=True)) <= 12


def test_samples_depend_on_neither_batch_nor_neighbours(learnt: tuple[DiffuSeq, FittedDiffuSeq]) -> None:
    method, fitted = learnt
    source, _ = reversed_words(5, 2)
    whole = method.samples(source, fitted, 3, seed=7, batch_size=15, progress=False)
    small = method.samples(source, fitted, 3, seed=7, batch_size=4, progress=False)
    later = method.samples(source[3:], fitted, 2, seed=7, batch_size=4, progress=False, first=3)
    assert whole == small
    assert [texts[:2] for texts in whole[3:]] == later
    for name in ("sampler", "rounding", "top_p"):
        other = replace(method, **{name: {"sampler": "ddim", "rounding": "none", "top_p": 0.9}[name]})
        assert len(other.apply(source, fitted, **QUIET)) == 5


def test_the_baseline_writes_what_it_would_write_without_its_cache() -> None:
    source, target = reversed_words(200, 0)
    tokenizer = Tokenizer.train(source, 32, "word")
    method = replace(TINY, hidden=32, layers=2, dropout=0.0)
    how = TrainerConfig(150, 32, lr=3e-3)
    found = Autoregressive.fit(source, target, tokenizer, method.sizes(tokenizer.size), how, **QUIET)
    mixed = [source[0], "a b", source[1]]  # shorter texts are padded in front
    texts, calls = found.write(mixed, **QUIET)
    assert texts[0] == target[0]
    assert texts == [found.write([text], **QUIET)[0][0] for text in mixed]
    assert 3 <= calls <= 9
    rows = pack(tokenizer, mixed, texts, 9)
    causal = torch.ones(8, 8, dtype=torch.bool).tril()
    said = found.network(rows.ids[:, :-1], torch.arange(8)[None].expand(3, -1), causal).argmax(-1)
    wanted = rows.target[:, 1:] & (rows.ids[:, 1:] != tokenizer.pad)
    assert torch.equal(said[wanted], rows.ids[:, 1:][wanted])


def test_an_interrupted_fit_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = reversed_words(20, 0)
    method = replace(TINY, T=2, steps=2)  # two levels: their loss history is full, and counts, by then
    whole = method.fit(source, target, progress=False, checkpoint_dir=tmp_path / "a")
    record = LossSecondMoment.record

    def stumble(self: LossSecondMoment, t: torch.Tensor, losses: torch.Tensor) -> None:
        if int(self.seen.sum()) >= 3 * 8:
            raise KeyboardInterrupt
        record(self, t, losses)

    monkeypatch.setattr(LossSecondMoment, "record", stumble)
    with pytest.raises(KeyboardInterrupt):
        method.fit(source, target, progress=False, checkpoint_dir=tmp_path / "b")
    monkeypatch.undo()
    resumed = method.fit(source, target, progress=False, checkpoint_dir=tmp_path / "b")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


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


def test_wrong_input_is_told_in_a_sentence() -> None:
    for source, target, words in (
        ([], [], "no target texts"),
        (["a"], ["a", "b"], "one target for each"),
        (["a", " "], ["a", "b"], "source text 2 is empty"),
    ):
        with pytest.raises(UserError, match=words):
            TINY.fit(source, target, **QUIET)
    fitted = TINY.fit(SOURCE, SOURCE, **QUIET)
    with pytest.raises(UserError, match="give a number from 1 to 20"):
        replace(TINY, steps=21).apply(SOURCE, fitted, **QUIET)
    with pytest.raises(UserError, match="source text 2 has no word of the vocabulary"):
        TINY.apply(["a", "光 雨"], fitted, **QUIET)
    with pytest.raises(UserError, match="no source texts"):
        TINY.apply([], fitted, **QUIET)


def test_nearest_word_vectors_and_the_likeliest_word_differ() -> None:
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    codec = Embedding(table)
    x = torch.tensor([[[1.2, 0.1], [2.5, 0.0], [0.1, 2.0]]])
    assert codec.nearest(x).tolist() == [[0, 1, 2]]
    assert codec.decode(x).tolist() == [[1, 1, 2]]  # the longest vector attracts
    assert torch.equal(Identity().decode(Identity().encode(x)), x)
    pred = Prediction(x, 3, x, torch.zeros(1))
    assert torch.equal(Nearest(codec).denoised(pred).x0, table[[0, 1, 2]][None])
    assert Nearest(codec, low=4).denoised(pred) is pred
    assert Nearest(codec, high=2).denoised(pred) is pred


def test_importance_sampling_has_no_bias() -> None:
    levels = LossSecondMoment(4, history=2)
    loss = torch.tensor([1.0, 2.0, 4.0, 8.0])
    levels.record(torch.tensor([1, 2, 3, 4] * 2), loss.repeat(2))
    torch.manual_seed(0)
    t, weights = levels.draw(40_000)
    assert float((weights * loss[t - 1]).mean()) == pytest.approx(float(loss.mean()), rel=0.01)
    share = torch.bincount(t, minlength=5)[1:] / len(t)
    assert share == pytest.approx(loss / 15, abs=0.01)


def test_a_memory_changes_between_steps_only() -> None:
    levels = LossSecondMoment(2, history=1)
    levels.note(torch.tensor([1, 2]), torch.tensor([1.0, 3.0], requires_grad=True))
    levels.note(torch.tensor([2]), torch.tensor([9.0]))
    assert levels.probabilities().tolist() == [0.5, 0.5]
    for note in levels.noted():
        levels.record(*note)
    assert levels.probabilities().tolist() == pytest.approx([0.999 * 0.1 + 0.0005, 0.999 * 0.9 + 0.0005])
    assert levels.noted() == []


def test_paper_sizes() -> None:
    with torch.device("meta"):
        network = TextDenoiser(TextDenoiserConfig())
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(91e6, rel=0.01)
