"""The captioner's own parts: what it must learn, words, rows, neighbours, published models, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import headwater.methods.text.clip_diffusion_lm.claim as claim
from headwater.baselines.captions import LeftToRight
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.text.clip_diffusion_lm import method as captioner
from headwater.methods.text.clip_diffusion_lm import scenes as emoji_scenes
from headwater.methods.text.clip_diffusion_lm.fitted import FittedCaptioner, Windows, neighbours
from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM, captions_of, rows_of
from headwater.models.image_text import ImageTextEncoder
from headwater.nets.clip import Clip
from headwater.sampling import Run
from headwater.training import TrainerConfig

QUIET = Run(progress=False)
COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
PLACES = {"upper": slice(0, 4), "lower": slice(4, 8), "whole": slice(0, 8)}
METHOD = CLIPDiffusionLM(
    size=8, features="trained", feature_steps=60, tokenizer="word", vocabulary=32, words="random", length=5,
    dim=16, hidden=24, layers=1, heads=2, feedforward=32, dropout=0.0, T=50, levels=4,
    training=TrainerConfig(250, 12, lr=5e-3, decay="linear"),
)  # fmt: skip


def scenes() -> tuple[torch.Tensor, list[str]]:
    """A colour in a half of the picture or all of it, three times each."""
    pictures, captions = [], []
    for colour, rgb in COLOURS.items():
        for place, rows in PLACES.items():
            picture = torch.zeros(3, 8, 8)
            picture[:, rows] = torch.tensor(rgb)[:, None, None]
            pictures += [picture] * 3
            captions += [f"the {place} is {colour}"] * 3
    noise = torch.randn(len(pictures), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (torch.stack(pictures) + 0.05 * noise).clamp(-1, 1), captions


@pytest.fixture(scope="module")
def fitted() -> FittedCaptioner:
    return METHOD.fit(*scenes(), **QUIET)


@pytest.mark.parametrize("sampler", ["fixed-point", "ancestral"])
def test_it_learns_to_describe(fitted: FittedCaptioner, sampler: str) -> None:
    pictures, captions = scenes()
    found = replace(METHOD, sampler=sampler).apply(pictures, fitted, **QUIET)  # pyright: ignore
    scores = METHOD.evaluate(found, captions)
    assert scores["exact"] >= 0.8
    assert min(scores["bleu1"], scores["bleu2"], scores["cider"] / 10) >= 0.8
    short = METHOD.evaluate(["red cat", "blue dog"], ["red cat", "blue dog"])
    assert short["corpus_bleu"] == 0  # no run of four words
    assert short["bleu2"] == pytest.approx(1)
    assert short["cider"] == pytest.approx(10)


def test_eyes_learn_from_other_captions_than_those_they_describe(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pictures, captions = scenes()
    plain, learnt = captioner.train_dual_encoder, list[set[str]]()

    def watched(images: torch.Tensor, texts: list[str], *rest: Any, **told: Any) -> Any:
        learnt.append(set(texts))
        return plain(images, texts, *rest, **told)

    monkeypatch.setattr(captioner, "train_dual_encoder", watched)
    brief = replace(METHOD, folds=3, feature_steps=8, training=TrainerConfig(2, 4))
    fitted = brief.fit(pictures, captions, **QUIET)
    whole, *parts = learnt
    assert whole == set(captions)
    held = [whole - part for part in parts]
    assert [len(part) for part in held] == [3, 3, 3]
    assert set.union(*held) == whole
    assert "of 9 captions a picture's own is nearest for" in caplog.text
    assert fitted.encoder is not None
    again = replace(brief, folds=1).fit(
        pictures, captions, **QUIET
    )  # the eyes that are kept are those that saw all
    assert again.encoder is not None
    same = zip(fitted.encoder.parameters(), again.encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    with pytest.raises(UserError, match="9 captions make no 9 folds"):
        replace(brief, folds=9).fit(pictures, captions, **QUIET)


def test_guided_captions_depend_on_neither_batch_nor_neighbours(fitted: FittedCaptioner) -> None:
    pictures, _ = scenes()
    method = replace(METHOD, guidance_scale=1.5, sampler="ancestral", steps=3)
    whole = method.apply(pictures[:6], fitted, seed=3, batch_size=6, progress=False)
    assert whole[4:] == method.apply(pictures[4:6], fitted, seed=3, batch_size=1, progress=False, first=4)


def test_frozen_words_stay_and_trained_words_move() -> None:
    pictures, captions = scenes()
    for words, moves in (("random", False), ("trained", True)):
        brief = replace(METHOD, feature_steps=2, words=words)  # pyright: ignore
        first, later = (
            replace(brief, training=TrainerConfig(n, 4, lr=1e-2)).fit(pictures, captions, **QUIET)
            for n in (1, 3)
        )
        assert torch.equal(first.network.table, later.network.table) is not moves
        assert torch.equal(first.network.head, later.network.head) is not moves


def test_rows_of_captions() -> None:
    tokenizer = Tokenizer.train(["red above blue"], 32, "word")
    rows = rows_of(tokenizer, ["red above blue", "red above blue red blue"], 5)
    red, above, blue = tokenizer.split(["red above blue"])[0]
    sep, pad = tokenizer.sep, tokenizer.pad
    assert rows.tolist() == [[red, above, blue, sep, pad], [red, above, blue, red, sep]]
    assert captions_of(tokenizer, torch.tensor([[red, red, above, above, blue]])) == ["red above blue"]
    assert captions_of(tokenizer, torch.tensor([[red, sep, blue, pad, pad]])) == ["red"]


def test_the_nearest_text_of_another_name() -> None:
    unit = torch.eye(3)
    assert neighbours(unit, unit).tolist() == [0, 1, 2]
    near = unit + 0.1 * unit.roll(1, 1)
    assert neighbours(near, unit, torch.tensor([0, 1, 2])).tolist() == [1, 2, 0]
    assert neighbours(near, unit, torch.tensor([0, 0, 2]))[0] == 2


def test_a_published_clip_and_published_words(tmp_path: Path) -> None:
    """Models of transformers in a local folder stand in for those on the hub."""
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 40, "max_position_embeddings": 12, "eos_token_id": 3, "pad_token_id": 0}
    vision = {**small, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=10)
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    pictures, captions = scenes()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.train(captions, 40, "word").model,
        pad_token="[PAD]", unk_token="[UNK]", sep_token="[SEP]",
    )  # fmt: skip
    fast.save_pretrained(tmp_path)
    method = replace(METHOD, features=str(tmp_path), training=TrainerConfig(2, 4, lr=1e-3))
    fitted = method.fit(pictures, captions, **QUIET)
    assert fitted.captions.shape == (27, 10)
    assert fitted.captions.norm(dim=1) == pytest.approx(10**0.5, abs=1e-5)
    fitted.save_pretrained(tmp_path / "fitted")
    again = FittedCaptioner.from_pretrained(tmp_path / "fitted")
    assert isinstance(again.encoders.encoder, Clip)
    assert method.apply(pictures, again, **QUIET) == method.apply(pictures, fitted, **QUIET)


def test_what_cannot_be_is_said(fitted: FittedCaptioner, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, captions = scenes()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for method, image, caption, words in (
        (METHOD, pictures, captions[1:], "give one each"),
        (METHOD, pictures[:, :, :4], captions, "resize"),
        (replace(METHOD, features="nobody/has-this-clip"), pictures, captions, "no CLIP called"),
        (replace(METHOD, words="published"), pictures, captions, "no model called"),
    ):
        with pytest.raises(UserError, match=words):
            method.fit(image, caption, **QUIET)
    with pytest.raises(UserError, match="give a number from 1 to 49"):
        replace(METHOD, steps=50).apply(pictures, fitted, **QUIET)


def test_a_name_counts_once_in_the_claim_however_many_pictures_it_has() -> None:
    found = claim.per_name(["red car", "car", "a dog"], ["red car", "red car", "cat"])
    assert found == [0.0, pytest.approx((1 + 2 / 3) / 2)]


def test_an_encoder_of_single_things_reads_scenes_through_windows(tmp_path: Path) -> None:
    """Two colours, one above the other: the whole is no picture of the encoder's, and its halves are."""
    plain = {name: torch.tensor(rgb)[:, None, None].expand(3, 8, 8) for name, rgb in COLOURS.items()}
    encoder = ImageTextEncoder.train(
        torch.stack([*plain.values()] * 8), [*plain] * 8, steps=60, radius=0.0, progress=False
    )
    pairs = [(a, b) for a in COLOURS for b in COLOURS]
    tall = torch.stack([torch.cat([plain[a], plain[b]], 1) for a, b in pairs])
    pictures, captions = tall.repeat(4, 1, 1, 2), [f"{a} above {b}" for a, b in pairs] * 4
    method = replace(METHOD, size=16, grid=2)
    fitted = method.fit(pictures, captions, encoder, **QUIET)
    assert (
        sum(a == b for a, b in zip(method.apply(pictures[:9], fitted, **QUIET), captions, strict=False)) >= 8
    )
    fitted.save_pretrained(tmp_path)
    again = FittedCaptioner.from_pretrained(tmp_path)
    assert method.apply(pictures[:3], again, **QUIET) == method.apply(pictures[:3], fitted, **QUIET)
    seen = fitted.encoders.image(pictures[1:2]).view(4, -1)
    one = encoder.image(torch.stack([plain["red"], plain["green"]])) / 2
    assert torch.allclose(seen, one.repeat_interleave(2, 0), atol=1e-5)
    means = fitted.encoders.image(pictures[:1]) @ fitted.encoders.text(["red"]).T
    assert float(means) == pytest.approx(
        float(encoder.image(plain["red"][None]) @ encoder.text(["red"]).T), abs=1e-5
    )
    for wrong, words in (
        (replace(method, grid=1), "do not fit"),
        (replace(METHOD, grid=2, size=4), "do not fit"),
    ):
        with pytest.raises(UserError, match=words):
            wrong.fit(torch.zeros(2, 3, wrong.size, wrong.size), ["red", "blue"], encoder, **QUIET)
    with pytest.raises(UserError, match="leave grid 1"):
        method.fit(pictures, captions, **QUIET)
    left = LeftToRight.fit(pictures, captions, fitted, method.training, **QUIET)
    assert sum(a == b for a, b in zip(left.write(pictures[:9]), captions, strict=False)) >= 8
    ids = torch.randint(5, 9, (1, 4))
    features, other = torch.zeros(1, left.network.body.config.features), ids.clone()
    other[0, 2] = 5 + (ids[0, 2] - 4) % 4
    a, b = left.network(ids, features), left.network(other, features)
    assert torch.equal(a[:, :3], b[:, :3])  # no word sees a later one
    assert not torch.equal(a[:, 3:], b[:, 3:])
    assert isinstance(fitted.encoders, Windows)


def test_test_scenes_have_no_pair_of_a_training_scene_and_stand_at_old_and_new_places() -> None:
    names = [f"thing {i}" for i in range(24)]
    train, test = emoji_scenes.drawn_scenes(names, 600, 12)

    def pairs(scenes: list[emoji_scenes.Scene]) -> set[frozenset[str]]:
        return {frozenset((a, b)) for s in scenes for a in s.names for b in s.names if a != b}

    assert not pairs(train) & pairs(test)
    assert {n for s in test for n in s.names} <= {n for s in train for n in s.names}
    assert [s.caption for s in test[:12]] == [s.caption for s in test[12:]]
    assert len({s.caption for s in test}) == 12
    assert [s.place in emoji_scenes.NEW for s in test] == [False] * 12 + [True] * 12
    assert not any(s.place in emoji_scenes.NEW for s in train)
    assert {s.form for s in test} == {*emoji_scenes.FORMS}


def test_scores_of_a_caption_of_a_scene() -> None:
    truth = "cat above red heart beside key"
    for said, parts, relation in (
        (truth, 1, 1),
        ("dog above red heart beside key", 2 / 3, 1),
        ("red heart above cat beside key", 1, 0),
        ("cat beside red heart beside key", 1, 0),
        ("cat above red heart", 2 / 3, 0),
        ("", 0, 0),
    ):
        assert emoji_scenes.parts_right(said, truth) == pytest.approx(parts)
        assert emoji_scenes.relation_right(said, truth) == relation
    assert emoji_scenes.found_again(
        ["cat above key", "dog beside key"], ["cat above key", "dog above key"]
    ) == [1, 1]
    assert emoji_scenes.found_again(["none"], ["cat above key"]) == [1]
    assert emoji_scenes.found_again(["x", "x"], ["a", "b"]) == [0.5, 0.5]
