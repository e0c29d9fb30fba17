"""Words that a network does not read, and files that are not read: how many, and which."""

from __future__ import annotations

import csv
import logging
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from headwater.cli.kinds import FAMILIES, Request
from headwater.data import open_dataset
from headwater.data.characters import Characters
from headwater.data.kspace import open_magnitude
from headwater.data.pictures import list_pictures
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.synthesis.glide.method import FittedGlide
from headwater.methods.text.diffuseq.method import pack
from headwater.metrics.dual_encoder import words
from headwater.models import ImageTextEncoder
from text_files import commands, jsonl, picture, write


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Command lines in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    return commands(capfd)


CUT = "a red heart beside one very large and very shiny blue star"


def test_texts_that_are_cut_or_not_known_are_counted(run: Any) -> None:
    write("c.txt", f"a red heart\n{CUT}\n{CUT.replace('star', 'frog')}\n")
    options: dict[str, Any] = {"fitted": "glide", "text": "c.txt", "steps": 1, "batch": 2}
    said = run("apply", "glide", **options)
    assert said.code == 0
    assert f"1 of 2 texts had to be cut at 8 tokens: '{CUT[:24]}…{CUT[-16:]}'\n" in said.err
    assert "in all, 2 of 3 texts had to be cut at 8 tokens: " in said.err
    assert "had words or characters that the vocabulary lacks: 'a red heart beside one v…" in said.err
    assert "(beside, very, shiny)" in said.err
    notes = yaml.safe_load(Path("out/run.yaml").read_text())["notes"]
    assert [note[:12] for note in notes] == ["2 of 3 texts"] * 2
    write("c.txt", "a red heart\nzyxwv qponm\n")
    said = run("apply", "glide", **options)
    assert said.code == 1
    assert "no word is known to the vocabulary in 1 of 2 texts: 'zyxwv qponm'; choose words of" in said.err
    write("c.txt", "a red heart\n")
    assert run("apply", "glide", **options).err == ""


def test_the_tokenizer_says_what_is_lost_once_a_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "headwater")
    tokenizer = Tokenizer.train(["caf\u00e9 au lait", "the cat"], 64, "bpe")
    assert tokenizer.encode(["the cat"], 20).shape == (1, 20)
    assert caplog.messages == []
    tokenizer.encode(["the cat", "the d\u014dg \u201csat\u201d", "caf\u00e9 au lait the cat"], 4)
    assert caplog.messages == [
        "1 of 3 texts had words or characters that the vocabulary lacks: 'the d\u014dg \u201csat\u201d' "
        "(d\u014dg, \u201csat\u201d)",
        "2 of 3 texts had to be cut at 4 tokens: 'the d\u014dg \u201csat\u201d', 'caf\u00e9 au lait the cat'",
    ]
    for text in ("\u65e5\u672c\u8a9e", "\U0001f600"):
        with pytest.raises(UserError, match="no word is known to the vocabulary in 1 of 1 source texts"):
            pack(tokenizer, [text])
    with pytest.raises(UserError, match="source text 1 is empty"):
        pack(tokenizer, ["\u200b"])
    caplog.clear()
    pack(tokenizer, ["the cat"] * 2, ["the cat", "the cat the cat the cat"], 9)
    assert caplog.messages == [
        "1 of 2 target texts had to be cut to what a row of 9 tokens has left: 'the cat the cat the cat'"
    ]


def test_one_word_is_one_word_however_its_accents_are_written() -> None:
    composed, apart = (unicodedata.normalize(form, "caf\u00e9 na\u00efve") for form in ("NFC", "NFD"))
    hidden = composed[:2] + "\u200b\u00ad" + composed[2:]
    assert composed != apart
    for kind in ("bpe", "word"):
        for learnt in (composed, apart):
            tokenizer = Tokenizer.train([learnt], 60, kind)
            first, *others = tokenizer.split([composed, apart, hidden])
            assert others == [first, first]
            assert tokenizer.unk not in first
    for learnt in (composed, apart):
        characters = Characters.of([learnt])
        assert (
            characters.decode(characters.encode(apart))
            == characters.decode(characters.encode(hidden))
            == learnt
        )
    with pytest.raises(UserError, match=r"have no '\u014d' \(U\+014D\): replace it"):
        Characters.of([composed]).encode("\u014d")
    assert words(apart) == words(composed) == ["caf\u00e9", "na\u00efve"]


def test_fit_says_what_its_length_and_vocabulary_cut_off(run: Any) -> None:
    for i in range(2):
        picture(f"p/p{i}.png", 255 * i)
    jsonl("c.jsonl", [{"file": f"p{i // 2}.png", "text": f"a b c d e f {i}"} for i in range(4)])
    tiny = {"steps": 1, "batch_size": 2}
    network = {"model_channels": 32, "channel_mult": [1], "num_res_blocks": 1, "attention_resolutions": [],
               "num_head_channels": 32, "resblock_updown": False}  # fmt: skip
    glide = {"tokenizer": "word", "vocabulary": 8, "length": 4, "text_width": 12, "text_layers": 1,
             "text_heads": 3, "variance": "fixed", "training": tiny, "network": network}  # fmt: skip
    small = {"size": 8, "features": "trained", "feature_steps": 1, "tokenizer": "word", "words": "random",
             "length": 5, "dim": 8, "hidden": 8, "layers": 1, "heads": 2, "feedforward": 8, "levels": 2,
             "training": tiny}  # fmt: skip
    cases = (("glide", glide, "text", 4), ("glide-inpaint", glide, "text", 4),
             ("clip-diffusion-lm", small, "caption", 4))  # fmt: skip
    for method, recipe, option, tokens in cases:
        Path("r.yaml").write_text(yaml.safe_dump(recipe))
        said = run("fit", method, image="p", recipe="r.yaml", out=method, **{option: "c.jsonl:text"})
        assert said.code == 0, said
        assert "fitted on 4 pairs of 2 pictures" in said.out
        noun = "texts" if option == "text" else "captions"
        assert f"4 of 4 {noun} had to be cut at {tokens} tokens: 'a b c d e f 0', " in said.err
        assert ("4 of 4 texts had words or characters that the vocabulary lacks" in said.err) == (
            option == "text"
        )


def test_an_encoder_says_which_words_it_was_not_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "headwater")
    encoder = ImageTextEncoder.train(torch.rand(2, 1, 8, 8), ["red heart", "frog"], steps=1, progress=False)
    encoder.note_lost(["red heart"])
    assert caplog.messages == []
    encoder.note_lost(["red heart", "a shiny frog"])
    assert caplog.messages == [
        "1 of 2 texts had words that the encoder was not trained on: 'a shiny frog' (a, shiny)"
    ]


def test_a_caption_is_the_same_beside_equal_ones() -> None:
    fitted = FittedGlide.from_pretrained("glide")
    once, twice = fitted.encode(["red heart", "frog"]), fitted.encode(["red heart", "frog", "red heart"])
    for name in once:
        assert torch.equal(twice[name], once[name][[0, 1, 0]])


def test_suffixes_in_any_case_and_what_is_no_data(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    for name in (
        "b.PNG",
        "a.Jpg",
        "c.jfif",
        "._a.png",
        "__MACOSX/a.png",
        ".ipynb_checkpoints/a.png",
        "@eaDir/a.png",
    ):
        picture(f"p/{name}")
    for name in ("d.BMP", "e.heic", "b.npy", "a.txt", "Thumbs.db", "._d.bmp"):
        write(f"p/{name}", "")
    caplog.set_level(logging.WARNING, "headwater")
    assert [path.name for path in list_pictures("p")] == ["a.Jpg", "b.PNG", "c.jfif"]
    assert caplog.messages == ["p: files of other formats were left out (2): d.BMP, e.heic"]
    picture("other/x.bmp")
    with pytest.raises(UserError, match=r"holds no PNG, JPEG, WebP or TIFF picture, but x.bmp: convert them"):
        list_pictures("other")


def test_arrays_and_volumes_in_capitals(tmp_path: Path) -> None:
    pictures = np.full((2, 8, 8), 9, np.uint8)
    for name in ("a.npy", "a.npz", "a.nii.gz"):
        path = tmp_path / name
        if name == "a.npy":
            np.save(path, pictures)
        elif name == "a.npz":
            np.savez(path, images=pictures)
        else:
            nibabel = pytest.importorskip("nibabel")
            nibabel.save(nibabel.Nifti1Image(pictures.astype(np.float32), np.eye(4)), path)
        path = path.rename(tmp_path / name.upper())
        assert len(open_dataset(path)) in (2, 8)
    np.save(tmp_path / "._A.npy", pictures)
    assert len(open_magnitude(tmp_path)) == 10


def test_masks_and_series_beside_what_systems_leave(run: Any) -> None:
    picture("p/a.png")
    Path("m").mkdir()
    np.save("m/a.npy", np.eye(8) > 0)
    Path("m/a.npy").rename("m/a.NPY")
    write("m/._a.png", "resource fork")
    found = FAMILIES["mask"].open(Request("mask", "m"))
    assert found.names == ["a.NPY"]
    assert found[0][0].equal(torch.eye(8) > 0)
    with open("T.CSV", "w", newline="") as file:
        csv.writer(file).writerows([["date", "x"], ["2020-01-01", "1"], ["2020-01-02", "2"]])
    assert FAMILIES["series"].open(Request("series", ".")).names == ["T.CSV"]
