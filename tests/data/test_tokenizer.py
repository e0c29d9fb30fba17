"""Tokenizer and characters: text survives, marks are where they are said to be, files are checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from headwater.data import shipped
from headwater.data.characters import Characters
from headwater.data.tokenizer import SPECIALS, Kind, Tokenizer
from headwater.errors import UserError

TEXTS = [
    "In the beginning God created the heavens and the earth.",
    'God said, "Let there be light," and there was light.',
    "Don't be afraid: it's the shepherd's son; he said he isn't.",
]


def test_bpe_returns_the_very_text() -> None:
    tokenizer = Tokenizer.train(TEXTS, 200, "bpe")
    ids = tokenizer.encode(TEXTS, 64)
    assert ids.shape == (3, 64)
    assert ids.dtype == torch.int64
    assert tokenizer.decode(ids) == TEXTS


def test_words_return_their_text_with_usual_spaces() -> None:
    tokenizer = Tokenizer.train(TEXTS, 200, "word")
    assert tokenizer.decode(tokenizer.encode(TEXTS[:1], 64)) == TEXTS[:1]
    assert len(tokenizer.split(["the earth."])[0]) == 3


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_size_is_a_limit_and_training_repeats(kind: Kind) -> None:
    first, second = (Tokenizer.train(TEXTS, 60, kind) for _ in range(2))
    assert first.size <= 60
    assert first.to_json() == second.to_json()


def test_unknown_characters_and_words_become_unk_and_stay_visible() -> None:
    for kind in ("bpe", "word"):
        tokenizer = Tokenizer.train(TEXTS, 100, kind)
        ids = tokenizer.encode(["God 光"], 6)
        assert tokenizer.unk in ids
        assert "[UNK]" in tokenizer.decode(ids)[0]


def test_long_texts_are_cut_and_short_ones_padded() -> None:
    tokenizer = Tokenizer.train(TEXTS, 100, "word")
    assert tokenizer.encode(["the the the the"], 2).tolist() == [tokenizer.split(["the the"])[0]]
    assert tokenizer.encode([""], 3).tolist() == [[tokenizer.pad] * 3]
    assert tokenizer.encode([], 3).shape == (0, 3)


def test_marks_are_five_different_ids_and_are_not_printed() -> None:
    tokenizer = Tokenizer.train(TEXTS, 100, "bpe")
    marks = [tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask]
    assert sorted(marks) == [0, 1, 2, 3, 4]
    row = [tokenizer.cls, *tokenizer.split(["the earth"])[0], tokenizer.sep, tokenizer.pad, tokenizer.mask]
    assert tokenizer.decode(torch.tensor([row])) == ["the earth"]


def test_json_round_trip() -> None:
    tokenizer = Tokenizer.train(TEXTS, 100, "bpe")
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.split(TEXTS) == tokenizer.split(TEXTS)
    assert (again.pad, again.sep, again.size) == (tokenizer.pad, tokenizer.sep, tokenizer.size)


def test_damaged_json_is_refused() -> None:
    good = json.loads(Tokenizer.train(TEXTS, 100, "bpe").to_json())
    far = {**good, "marks": {**good["marks"], "pad": 10**9}}
    for text in ("", "{}", json.dumps({**good, "model": "nothing"}), json.dumps(far)):
        with pytest.raises(UserError, match="fit again"):
            Tokenizer.from_json(text)
    with pytest.raises(UserError, match="newer"):
        Tokenizer.from_json(json.dumps({**good, "format": 9}))


def test_wrong_use_is_told_in_a_sentence() -> None:
    with pytest.raises(UserError, match="no text"):
        Tokenizer.train(["", "  "], 100)
    with pytest.raises(UserError, match="above"):
        Tokenizer.train(TEXTS, 5)
    tokenizer = Tokenizer.train(TEXTS, 100)
    with pytest.raises(UserError, match="ids go from 0"):
        tokenizer.decode(torch.tensor([[10**6]]))


def test_a_folder_of_a_published_tokenizer(tmp_path: Path) -> None:
    trained = Tokenizer.train(TEXTS, 100, "bpe")
    trained.model.save(str(tmp_path / "tokenizer.json"))
    marks = {f"{k}_token": v for k, v in {"pad": "[PAD]", "unk": "[UNK]"}.items()}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **marks}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    found = Tokenizer.named(str(tmp_path))
    assert found.split(TEXTS) == trained.split(TEXTS)
    assert len({found.pad, found.unk, found.cls, found.sep, found.mask}) == 5


def test_a_unigram_tokenizer_of_another_library_is_read_as_it_is(tmp_path: Path) -> None:
    """As sentencepiece and T5 have them, with normalisation, marks of spaces and weights of pieces."""
    lib, texts = pytest.importorskip("tokenizers"), [*shipped.load("verses", "test").target[:300], *TEXTS]
    theirs = lib.implementations.SentencePieceUnigramTokenizer()
    theirs.train_from_iterator(
        texts, vocab_size=400, show_progress=False, special_tokens=list(SPECIALS.values()), unk_token="[UNK]"
    )
    about = json.loads(theirs.to_str())
    assert about["model"]["type"] == "Unigram"
    marks = {mark: theirs.token_to_id(text) for mark, text in SPECIALS.items()}
    ours = Tokenizer.from_json(json.dumps({"format": 1, "marks": marks, "model": theirs.to_str()}))
    odd = ["\uff26ull\u00a0width  and  a ligature: \ufb01sh", "caf\u00e9 cafe\u0301", "\u5b57", ""]
    wanted = [theirs.encode(text, add_special_tokens=False).ids for text in (*texts, *odd)]
    assert ours.split([*texts, *odd]) == wanted
    length = max(map(len, wanted))
    decoded = ours.decode(ours.encode([*texts, *odd], length))
    assert decoded == [theirs.decode(ids, skip_special_tokens=False) for ids in wanted]
    assert decoded[: len(texts)] == [" ".join(text.split()) for text in texts]
    again = Tokenizer.from_json(ours.to_json())
    assert again.split(odd) == wanted[len(texts) :]


def test_a_name_out_of_reach_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def absent(name: str, **how: object) -> None:
        asked.append(how)
        raise OSError(name)

    def unreachable(api: object, name: str, timeout: float) -> None:
        asked.append(timeout)
        raise RuntimeError("no network")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", absent)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(UserError, match=r"no tokenizer called 'nobody/has-this'.*train one: bpe or word"):
        Tokenizer.named("nobody/has-this")
    assert asked == [{"local_files_only": True}, 5.0]
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda api, name, timeout: None)
    with pytest.raises(UserError, match="no tokenizer called"):
        Tokenizer.named("nobody/has-this")
    assert asked[2:] == [{"local_files_only": True}, {}]


def test_characters_are_sorted_and_an_end_stands_behind_each_text() -> None:
    characters = Characters.of(["ba", "c"])
    assert characters.symbols == "\nabc"
    assert characters.encode("a?b", "?").tolist() == [1, -1, 2]
    assert characters.decode(characters.stream(["ab", "ab", "cb"])) == "ab\nab\ncb\n"
