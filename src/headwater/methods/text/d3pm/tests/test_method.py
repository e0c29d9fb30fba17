"""D3PM's own parts: chains, windows, pieces of long texts, bits, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from headwater.data.characters import Characters
from headwater.discrete.matrix_powers import MatrixPowers
from headwater.errors import UserError
from headwater.methods.text.d3pm.claim import CLAIM, arms
from headwater.methods.text.d3pm.method import D3PM, FittedD3PM, contexts, pair_counts, windows
from headwater.training import TrainerConfig

CORPUS = ["abab abab", "ba ba", "ab"] * 12
SMALL = D3PM(
    T=8, length=16, width=16, layers=1, heads=2, steps=8, levels=8, training=TrainerConfig(60, 8, lr=1e-2)
)


@pytest.fixture(scope="module")
def fitted() -> FittedD3PM:
    return SMALL.fit(CORPUS, progress=False)


@pytest.mark.parametrize("chain", ["absorbing", "uniform", "nearest"])
def test_every_chain_fills_holes_and_keeps_the_rest(chain: str) -> None:
    method = replace(SMALL, chain=chain, training=TrainerConfig(3, 4))  # pyright: ignore
    fitted = method.fit(CORPUS, progress=False)
    texts = ["ab__", "_" * 16, "abab abab", "ba_ba ab" * 5]  # the last is of three pieces
    done = method.apply(texts, fitted, progress=False)
    for before, after in zip(texts, done.written, strict=True):
        assert all(b in ("_", a) for b, a in zip(before, after, strict=True))
        assert set(after) <= set(fitted.config.characters.symbols)
    assert (done.bits > 0).all()
    assert isinstance(fitted.process, MatrixPowers) == (chain == "nearest")


def test_training_lowers_the_bits_and_skipping_timesteps_costs_some(fitted: FittedD3PM) -> None:
    test = ["abab abab\nba ba\n"] * 16
    untrained = replace(SMALL, training=TrainerConfig(1, 8, lr=1e-9)).fit(CORPUS, progress=False)
    fresh, trained = (float(SMALL.apply(test, f, progress=False).bits.mean()) for f in (untrained, fitted))
    assert trained < fresh - 0.2
    assert float(replace(SMALL, steps=2).apply(test, fitted, progress=False).bits.mean()) > trained - 0.2


def test_bits_of_a_longer_text_count_more() -> None:
    numbers = SMALL.evaluate(["a", "abc"], torch.tensor([4.0, 2.0]))
    assert numbers["low"] <= numbers["bits_per_character"] <= numbers["high"]
    assert numbers["bits_per_character"] == pytest.approx(10 / 4)


def test_new_texts_depend_on_seed_and_place_alone(fitted: FittedD3PM) -> None:
    few = replace(SMALL, steps=3)
    one = few.write(3, fitted, seed=5, batch_size=2, progress=False)
    assert one == few.write(4, fitted, seed=5, progress=False)[:3]
    assert one != few.write(3, fitted, seed=6, progress=False)


def test_what_cannot_be_is_said(fitted: FittedD3PM) -> None:
    for call, given, words in (
        (SMALL.apply, (["abz"], fitted), "have no 'z': replace it"),
        (SMALL.apply, (["ab", ""], fitted), "a text is empty"),
        (replace(SMALL, steps=9).apply, (["a_"], fitted), "give a number from 1 to 8"),
        (replace(SMALL, hole="??").apply, (["ab"], fitted), "one character"),
        (SMALL.fit, ([],), "there are no texts"),
        (SMALL.fit, (["short"],), "a window 16"),
        (replace(SMALL, width=18).fit, (CORPUS,), "multiple of 4"),
        (replace(SMALL, layers=10**12).fit, (CORPUS,), "4 billion"),
    ):
        with pytest.raises(UserError, match=words):
            call(*given, progress=False)


def test_windows_begin_anywhere_and_like_characters_keep_similar_company() -> None:
    characters = Characters("\nabc")
    stream = characters.stream(["ab", "ab", "cb"])
    found = {characters.decode(row) for row in windows(stream, 4, 50, 0, 3)}
    assert found == {"ab\na", "b\nab", "\nab\n", "ab\nc", "b\ncb", "\ncb\n"}
    pairs = pair_counts(stream, 4)
    assert pairs[1, 2] == 2
    assert pairs[3, 2] == 1
    near = contexts(pairs) @ contexts(pairs).T
    assert near[1, 3] > near[1, 2]  # a and c both come before b


def test_arms_of_the_claim_differ_in_what_is_claimed_alone() -> None:
    absorbing, uniform, *_ = arms(CLAIM.full).values()
    assert replace(uniform, chain="absorbing", auxiliary=absorbing.auxiliary) == absorbing
