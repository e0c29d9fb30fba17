"""Wrong words and bad files: one sentence that says what to do, and the right exit code."""

from __future__ import annotations

import re
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from headwater import cli
from headwater.methods.catalogue import METHODS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "'list'"),
        (["zzz"], "`headwater --help`"),
        (["apply", "repant"], "'repaint'"),
        (["fit", "prio"], "'prior'"),
        (["show", "zzz"], "choose one of"),
        (["apply", "--out", "x", "repaint"], "say the method first"),
        (["apply", "repaint", "--imgae", "x"], "'--image'"),
        (["apply", "repaint", "--zzz", "x"], "`headwater apply repaint --help`"),
        (["apply", "repaint", "--image", "x"], "needs --known, --prior, --out"),
        (["apply", "repaint", "--image"], "'--image'. Expected 1"),
        (["apply", "repaint", "--on-error", "skp"], "did you mean 'skip'"),
        (["list", "--jsn"], "--json"),
        (["show", "repaint", "--jsn"], "--json"),
        (["sample"], "needs"),
        (["sample", "digits", "--smpler", "ddim"], "'--sampler'"),
        (["reproduce", "repant"], "'repaint'"),
        (["convert", "a", "b", "--to", "diffuser"], "'diffusers'"),
        (
            ["fit", "prior", "digits", "--out", "x", "--network.model-chanels", "3"],
            "--network.model-channels",
        ),
        (["fit", "prior", "digits", "--out", "x", "--steps", "0"], "steps is 0"),
    ],
)
def test_wrong_words_exit_with_2_and_name_the_nearest(headwater, words, said):
    assert said in headwater(*words).sentence(2)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"steps": "many"}, 2, "--steps cannot be 'many': give INT"),
        ({"batch": 0}, 2, "--batch is 0"),
        ({"device": "cdua"}, 2, "'cuda'"),
        ({"steps": 21}, 1, "20 timesteps"),
        ({"image": "nowhere"}, 1, "nowhere"),
        ({"known": "nowhere.png"}, 1, "--known: nowhere.png does not exist"),
        ({"prior": "nowhere"}, 1, "no prior 'nowhere'"),
        ({"config": "nowhere.yaml"}, 1, "nowhere.yaml"),
    ],
)
def test_wrong_values(headwater, repaint, changes, code, said):
    assert said in headwater(*repaint(**changes)).sentence(code)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_a_device_that_is_not_there(headwater, repaint):
    assert "choose --device cpu" in headwater(*repaint(device="cuda")).sentence(1)


def test_folders_that_cannot_be_used(headwater, repaint, tmp_path, mask):
    (tmp_path / "empty").mkdir()
    assert "holds no PNG" in headwater(*repaint(image=tmp_path / "empty")).sentence(1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert "--overwrite" in headwater(*repaint(out=tmp_path / "full")).sentence(1)
    assert "choose a folder" in headwater(*repaint(out=mask)).sentence(1)
    assert "choose a folder" in headwater(*repaint(out=mask / "below")).sentence(1)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_bad_files_are_named(headwater, repaint, pictures, mask, tmp_path):
    Image.open(mask).save(tmp_path / "known.jpg")
    assert "lossy" in headwater(*repaint(known=tmp_path / "known.jpg")).sentence(1)
    (tmp_path / "masks").mkdir()
    Image.open(mask).save(tmp_path / "masks" / "p0.png")
    Image.open(mask).save(tmp_path / "masks" / "p1.png")
    assert "nothing for more/p4.png" in headwater(*repaint(known=tmp_path / "masks")).sentence(1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.yaml"]
    (pictures / "p1.png").write_bytes(b"no picture")
    assert "p1.png" in headwater(*repaint()).sentence(1)


def test_two_pictures_with_one_name_are_refused(headwater, repaint, pictures):
    Image.new("L", (16, 16)).save(pictures / "p0.jpg")
    assert "p0.jpg and p0.png" in headwater(*repaint()).sentence(1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imgae: x", "unknown key 'imgae': did you mean 'image'"),
        ("method: {jmp: 3}", "unknown key 'jmp': did you mean 'jump'"),
        ("jump: 3", "it belongs below 'method'"),
        ("method: {jump: three}", "method: jump is 'three'"),
        ("method: 3", "one `name: value` per line"),
        ("json: true", "belongs on the command line"),
        ("- 1", "one `name: value` per line"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_config_is_checked(headwater, repaint, tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    assert said in headwater(*repaint(config=tmp_path / "c.yaml")).sentence(2)


def test_print_config_round_trips(headwater, repaint, tmp_path):
    first = headwater(*repaint(seed=7, batch=3), "--print-config")
    assert first.code == 0
    assert not (tmp_path / "out").exists()
    (tmp_path / "c.yaml").write_text(first.out)
    again = headwater("apply", "repaint", "--config", tmp_path / "c.yaml", "--print-config")
    assert again == first
    other = headwater("apply", "repaint", "--config", tmp_path / "c.yaml", "--seed", 8, "--print-config")
    assert other.out == first.out.replace("seed: 7", "seed: 8")


@pytest.mark.parametrize("verb", [*cli.VERBS, ""])
def test_every_verb_has_help(headwater, verb):
    said = headwater(*filter(None, [verb]), "--help")
    assert said.code == 0
    assert said.err == ""
    assert "usage: headwater" in said.out


@pytest.mark.parametrize("verb", ["show", "fit", "apply", "evaluate", "reproduce"])
def test_help_of_every_method(headwater, verb):
    for name, entry in METHODS.items():
        if verb == "fit" and not hasattr(entry.load(), "fit"):
            assert "trains nothing" in headwater(verb, name, "--help").sentence(1)
        else:
            assert headwater(verb, name, "--help").code == 0


def test_no_words_is_wrong_usage(headwater):
    assert headwater().code == 2
    assert headwater("apply").code == 2
    assert headwater("--version").out.startswith("headwater 0.")


def test_list_is_json_with_every_method(headwater):
    assert headwater("list", "--json").json["methods"].keys() == METHODS.keys()
    assert "digits" in headwater("list").out
    assert re.search(r"repaint +held ", headwater("list").out)
    assert headwater("list", "--json").json["methods"]["repaint"]["verdict"] == "held"
    assert "Reproduced: held (3 seeds" in headwater("show", "repaint").out


@pytest.mark.parametrize("name", METHODS)
def test_show_tells_a_method(headwater, name):
    text, values = headwater("show", name).out, headwater("show", name, "--json").json
    method = METHODS[name].load()
    for part in (method.paper.title, method.paper.authors, "@inproceedings"):
        assert part in text
    for option, about in values["options"].items():
        assert about["help"], f"{name}: {option} lacks a docstring"
        assert f"{option} = " in text


def test_ctrl_c_is_one_sentence(headwater, repaint, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("headwater.sampling.driver.reverse", interrupted)
    assert "stopped" in headwater(*repaint()).sentence(130)


def test_a_bug_is_said_to_be_one(headwater, repaint, monkeypatch, tmp_path):
    def broken(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("headwater.sampling.driver.reverse", broken)
    said = headwater(*repaint())
    assert said.code == 1
    assert "this is a bug (KeyError: 'x')" in said.err
    monkeypatch.setenv("HEADWATER_TRACEBACK", "1")
    with pytest.raises(KeyError):
        headwater(*repaint(out=tmp_path / "b"))


def test_a_mask_of_the_pictures_size_is_resized_with_them_and_another_is_refused(
    headwater, repaint, tmp_path
):
    Image.fromarray(np.full((20, 18), 255, dtype=np.uint8)).save(tmp_path / "same.png")
    assert headwater(*repaint(known=tmp_path / "same.png"), "--json").json["items"] == 5
    Image.fromarray(np.full((40, 20), 255, dtype=np.uint8)).save(tmp_path / "tall.png")
    said = headwater(*repaint(known=tmp_path / "tall.png", out=tmp_path / "b")).sentence(1)
    assert "the mask tall.png is 20x40 and the picture more/p4.png 18x20" in said
