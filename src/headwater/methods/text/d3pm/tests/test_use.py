"""D3PM as a person uses it: learn, write, complete, measure, keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwater.discrete.matrix_powers import MatrixPowers
from headwater.discrete.process import RankOne
from headwater.errors import UserError
from headwater.methods.text.d3pm.characters import Characters, pair_counts, stream_of, windows
from headwater.methods.text.d3pm.fitted import FittedD3PM, contexts
from headwater.methods.text.d3pm.method import D3PM
from headwater.nets.text_transformer import TextTransformerConfig
from headwater.sampling import Run
from headwater.training import TrainerConfig

QUIET = Run(0, progress=False)
CORPUS = ["abab abab", "ba ba", "ab"] * 12
SMALL = D3PM(
    T=8, length=16, width=16, layers=1, heads=2, steps=8, levels=8, training=TrainerConfig(60, 8, lr=1e-2)
)


@pytest.fixture(scope="module")
def fitted() -> FittedD3PM:
    return SMALL.fit(CORPUS, **QUIET)


@pytest.mark.parametrize("chain", ["absorbing", "uniform", "nearest"])
def test_every_chain_learns_and_completes(chain: str) -> None:
    method = replace(SMALL, chain=chain, training=TrainerConfig(3, 4))  # pyright: ignore
    fitted = method.fit(CORPUS, **QUIET)
    texts = ["ab__", "_" * 16, "abab abab", "ba_ba ab" * 5]
    done = method.apply(texts, fitted, **QUIET)
    for before, after in zip(texts, done.written, strict=True):
        assert len(before) == len(after)
        assert all(b in ("_", a) for b, a in zip(before, after, strict=True))
        assert set(after) <= set(fitted.config.characters.symbols)
    assert done.bits.shape == (4,)
    assert (done.bits > 0).all()
    same = method.apply(texts, fitted, seed=0, batch_size=1, progress=False)
    assert same.written == done.written
    torch.testing.assert_close(same.bits, done.bits)
    assert isinstance(fitted.process, MatrixPowers if chain == "nearest" else RankOne)


def test_training_lowers_the_bits_and_skipping_levels_costs_some(fitted: FittedD3PM) -> None:
    test = ["abab abab\nba ba\n"] * 16
    untrained = replace(SMALL, training=TrainerConfig(1, 8, lr=1e-9)).fit(CORPUS, **QUIET)
    fresh, learnt = (float(SMALL.apply(test, f, **QUIET).bits.mean()) for f in (untrained, fitted))
    assert learnt < fresh - 0.2
    few = replace(SMALL, steps=2)
    assert float(few.apply(test, fitted, **QUIET).bits.mean()) > learnt - 0.2
    numbers = SMALL.evaluate(test, SMALL.apply(test, fitted, **QUIET).bits)
    assert numbers["low"] <= numbers["bits_per_character"] <= numbers["high"]
    assert numbers["bits_per_character"] == pytest.approx(learnt)


def test_bits_of_a_longer_text_count_more() -> None:
    numbers = SMALL.evaluate(["a", "abc"], torch.tensor([4.0, 2.0]))
    assert numbers["bits_per_character"] == pytest.approx(10 / 4)


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(
    fitted: FittedD3PM, tmp_path: Path
) -> None:
    kept = replace(QUIET, checkpoint_dir=tmp_path)
    SMALL.fit(CORPUS, **kept)
    resumed = SMALL.fit(CORPUS, **kept)  # from its last checkpoint
    for a, b in zip(fitted.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_texts_do_not_depend_on_their_neighbours(fitted: FittedD3PM) -> None:
    one = replace(SMALL, steps=3).write(3, fitted, seed=5, batch_size=2, progress=False)
    assert one == replace(SMALL, steps=3).write(4, fitted, seed=5, batch_size=4, progress=False)[:3]
    assert one != replace(SMALL, steps=3).write(3, fitted, seed=6, progress=False)


def test_what_cannot_be_is_said(fitted: FittedD3PM) -> None:
    with pytest.raises(UserError, match="have no 'z': replace it"):
        SMALL.apply(["abz"], fitted, **QUIET)
    with pytest.raises(UserError, match="a text is empty"):
        SMALL.apply(["ab", ""], fitted, **QUIET)
    with pytest.raises(UserError, match="give a number from 1 to 8"):
        replace(SMALL, steps=9).apply(["ab"], fitted, **QUIET)
    with pytest.raises(UserError, match="one character"):
        replace(SMALL, hole="??").apply(["ab"], fitted, **QUIET)
    with pytest.raises(UserError, match="there are no texts"):
        SMALL.fit([], **QUIET)
    with pytest.raises(UserError, match="a window 16"):
        SMALL.fit(["short"], **QUIET)
    with pytest.raises(UserError, match="multiple of 4"):
        replace(SMALL, width=18).fit(CORPUS, **QUIET)
    with pytest.raises(ValueError, match="4 billion"):
        TextTransformerConfig(28, width=768, layers=10**6)


def test_characters_windows_and_company() -> None:
    characters = Characters.of(["ba", "c"])
    assert characters.symbols == "\nabc"
    assert characters.encode("a?b", "?").tolist() == [1, -1, 2]
    stream = stream_of(characters, ["ab", "ab", "cb"])
    assert characters.decode(stream) == "ab\nab\ncb\n"
    rows = windows(stream, 4, 50, 0, 3)
    texts = {characters.decode(row) for row in rows}
    assert texts <= {"ab\na", "b\nab", "\nab\n", "ab\nc", "b\ncb", "\ncb\n"}
    assert len(texts) > 3
    assert torch.equal(rows, windows(stream, 4, 50, 0, 3))
    pairs = pair_counts(stream, 4)
    assert pairs[1, 2] == 2
    assert pairs[3, 2] == 1
    near = contexts(pairs) @ contexts(pairs).T
    assert near[1, 3] > near[1, 2]  # a and c both stand before b
