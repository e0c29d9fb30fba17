"""Text measures against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from headwater.errors import UserError
from headwater.metrics.text import (
    cider,
    corpus_bleu,
    distinct,
    diversity,
    exact_match,
    mean_sentence_bleu,
    self_bleu,
    sentence_bleu,
    word_f1,
)


def test_sentence_bleu_by_hand() -> None:
    assert sentence_bleu("a b c d e", "a b c d e") == pytest.approx(1)
    # 4 of 5 words, 2 of 4 pairs, 1 of 3 triples, 0 of 2 fours: ln(5) / (2 * 5) of a match.
    wanted = (4 / 5 * 2 / 4 * 1 / 3 * (math.log(5) / 10) / 2) ** 0.25
    assert sentence_bleu("a b c x e", "a b c d e") == pytest.approx(wanted)
    # Both the third and the fourth order miss: the second miss counts half as much.
    wanted = (3 / 4 * 1 / 3 * (math.log(4) / 10) / 2 * (math.log(4) / 20) / 1) ** 0.25
    assert sentence_bleu("a b x d", "a b c d") == pytest.approx(wanted)


def test_sentence_bleu_punishes_brevity_and_knows_nothing_matches() -> None:
    assert sentence_bleu("a b c d", "a b c d e f g h") == pytest.approx(math.exp(1 - 8 / 4))
    assert sentence_bleu("x y", "a b") == 0
    assert sentence_bleu("", "a b") == 0
    assert sentence_bleu("a b c d", ["z", "a b c d"]) == pytest.approx(1)


def test_corpus_bleu_pools_counts() -> None:
    assert corpus_bleu(["the cat sat on the mat"], ["the cat sat on the mat"]) == pytest.approx(1)
    hyps, refs = ["a b c d e", "f g h i j"], ["a b c d e", "f g h i x"]
    wanted = (9 / 10 * 7 / 8 * 5 / 6 * 3 / 4) ** 0.25
    assert corpus_bleu(hyps, refs) == pytest.approx(wanted)
    assert corpus_bleu(hyps, [["z z z z z", "a b c d e"], ["f g h i j"]]) == pytest.approx(1)
    assert mean_sentence_bleu(hyps, refs) == pytest.approx((1 + sentence_bleu(hyps[1], refs[1])) / 2)


def test_word_f1_and_exact_match() -> None:
    assert word_f1(["A red, red square!"], ["a red square"]) == pytest.approx(2 * 3 / 7)
    assert word_f1(["x", "x"], [["y", "x"], ["y"]]) == pytest.approx(0.5)
    assert exact_match(["a  b ", "c"], ["a b", "d"]) == 0.5


def test_distinct_diversity_and_self_bleu() -> None:
    assert distinct(["a a b", "c d"]) == pytest.approx((2 / 3 + 1) / 2)
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert diversity([["a b c d", "a b c d"]]) == 0.5
    assert diversity([["a b c d", "a b c e"]]) == 1
    assert self_bleu([["a b c d", "a b c d", "a b c d"]]) == pytest.approx(1)
    assert self_bleu([["a b", "c d"]]) == 0


def test_wrong_use_is_told_in_a_sentence() -> None:
    for score in (corpus_bleu, word_f1, exact_match):
        with pytest.raises(UserError, match="one for each"):
            score(["a"], ["a", "b"])
        with pytest.raises(UserError, match="no texts"):
            score([], [])
    with pytest.raises(UserError, match="two samples"):
        self_bleu([["a"]])


def test_short_captions_are_measured_by_short_runs_and_by_cider():
    texts = ["red heart", "black cat", "black heart"]
    assert corpus_bleu(texts, texts) == 0  # there is no run of four words
    assert corpus_bleu(texts, texts, 2) == pytest.approx(1)
    assert corpus_bleu(["red cat", "black cat", "black heart"], texts, 1) == pytest.approx(5 / 6)
    assert cider(texts, texts) == pytest.approx(10)
    assert cider(["red heart", "black dog", "black heart"], texts) < 8
    # By hand: two items; `a` is in both and weighs 0, each of the others ln 2; runs of two words likewise.
    one = cider(["a b", "a c"], [["a b", "a d"], ["a c"]])
    assert one == pytest.approx(10 * (((1 + 0) / 2 + (1 + 0) / 2) / 2 + 1) / 2)
