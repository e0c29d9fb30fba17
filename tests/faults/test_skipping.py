"""`--on-error skip` leaves out what is no good, whatever it is; what is not a number is not called done."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from headwater.cli.files import Source
from headwater.cli.kinds import Request
from headwater.cli.parts import Parts
from headwater.cli.walk import Walk
from headwater.data.listing import files_below
from headwater.errors import UserError
from headwater.methods.base import Kind
from headwater.models import Prior
from headwater.sampling import Run

SIDE = 16


@pytest.fixture
def masks(pictures, tmp_path):
    """A mask for each of the five pictures."""
    folder = tmp_path / "masks"
    (folder / "more").mkdir(parents=True)
    for i in range(5):
        known = np.full((SIDE, SIDE), 255, dtype=np.uint8)
        known[: 4 + i, :5] = 0
        Image.fromarray(known).save(folder / ("more" if i == 4 else ".") / f"p{i}.png")
    return folder


def corrupt(path):
    path.write_bytes(b"no picture")


def dangling(path):
    path.unlink()
    path.symlink_to(path.parent / "nowhere.png")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def huge(path):
    Image.new("L", (SIDE, 3 * SIDE), 255).save(path)


@pytest.mark.parametrize("spoil", [corrupt, dangling, pipe, folder, huge])
@pytest.mark.parametrize("batch", [1, 32])
def test_a_mask_that_is_no_good_leaves_its_picture_out(headwater, repaint, masks, tmp_path, spoil, batch):
    assert headwater(*repaint(known=masks, batch=batch, out=tmp_path / "all")).code == 0
    spoil(masks / "p1.png")
    assert headwater(*repaint(known=masks, batch=batch)).code == 1
    said = headwater(*repaint(known=masks, batch=batch, on_error="skip"), "--overwrite", "--json")
    assert said.code == 0
    assert list(said.json["skipped"]) == ["p1.png"]
    some, every = (
        yaml.safe_load((tmp_path / name / "run.yaml").read_text())["outputs"] for name in ("out", "all")
    )
    assert some == {name: value for name, value in every.items() if name != "filled/p1.png"}


def test_an_item_that_the_method_refuses_is_left_out(pictures, tmp_path):
    def apply(image, first=0, **how):
        for picture in image:
            if float(picture.mean()) == -1:
                raise UserError("a picture is black: leave it out")
        return image

    Image.new("L", (SIDE, SIDE), 0).save(pictures / "p2.png")
    source = Source(Kind("images", ""), Request("image", str(pictures), (1, SIDE, SIDE)))
    out = {"same": Kind("images", "")}
    walk = Walk(SimpleNamespace(apply=apply), {"image": source}, {}, out, Run(progress=False), "skip")
    walk.over([range(5)], tmp_path / "out", None)
    assert Parts(tmp_path / "out").skipped() == {"p2.png": "a picture is black: leave it out"}
    assert len(list((tmp_path / "out" / "same").rglob("*.png"))) == 4


@pytest.fixture
def overflowing(prior, tmp_path):
    """A prior whose weights are finite and whose answers are not."""
    found = Prior.from_pretrained(prior)
    with torch.no_grad():
        for parameter in found.network.parameters():
            parameter.fill_(1e30)
    found.save_pretrained(tmp_path / "overflowing")
    return tmp_path / "overflowing"


def test_a_network_that_overflows_is_said_to(headwater, repaint, overflowing, pictures, tmp_path):
    said = headwater("sample", overflowing, "--n", 2, "--steps", 3, "--out", tmp_path / "drawn").sentence(1)
    assert "overflows" in said
    said = headwater(*repaint(prior=overflowing)).sentence(1)
    assert "overflows" in said
    assert "p4.png" in said
    words = ["apply", "anoddpm", "--prior", overflowing, "--image", pictures, "--level", 3]
    assert "overflows" in headwater(*words, "--out", tmp_path / "scored").sentence(1)
    assert not list(tmp_path.rglob("*.csv"))


def test_what_is_left_out_of_a_folder_is_said(tmp_path, caplog):
    (tmp_path / "in").mkdir()
    (tmp_path / "beside").mkdir()
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "c.png").symlink_to("/dev/zero")
    (tmp_path / "in" / "d").symlink_to(tmp_path / "beside")
    os.mkfifo(tmp_path / "in" / "e.png")
    with caplog.at_level("WARNING", "headwater"):
        assert [path.name for path in files_below(tmp_path / "in", (".png",))] == ["a.png"]
    for name in ("b.png", "c.png", "d", "e.png"):
        assert f"in/{name}: is" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_opened_is_said(tmp_path, caplog):
    (tmp_path / "closed").mkdir(mode=0o000)
    with caplog.at_level("WARNING", "headwater"):
        assert files_below(tmp_path) == []
    assert "cannot be opened" in caplog.text


@pytest.mark.parametrize("times", [1e19, 1e30, 1e37])
def test_measurements_whose_squares_overflow_are_said_to(headwater, prior, tmp_path, times):
    k = np.random.default_rng(0).standard_normal((16, 16, 2)).view(np.complex128)[..., 0]
    (tmp_path / "scans").mkdir()
    np.save(tmp_path / "scans" / "k.npy", (k * times).astype(np.complex64))
    words = ["apply", "score-mri", "--prior", prior, "--kspace", tmp_path / "scans", "--steps", 2]
    said = headwater(*words, "--out", tmp_path / "out").sentence(1)
    assert "whose squares 32-bit numbers cannot hold: divide them by" in said
    assert not list((tmp_path / "out").rglob("*.n*"))
    np.save(tmp_path / "scans" / "good.npy", k.astype(np.complex64))
    said = headwater(*words, "--out", tmp_path / "some", "--on-error", "skip", "--json")
    assert list(said.json["skipped"]) == ["k"]


def test_a_pipe_among_results_is_left_out(headwater, repaint, pictures, tmp_path):
    assert headwater(*repaint()).code == 0
    for name in ("a.png", "filled/a.png", "filled/b.csv"):
        os.mkfifo(tmp_path / "out" / name)
    words = ["evaluate", "repaint", "--result", tmp_path / "out", "--truth", pictures, "--json"]
    assert headwater(*words).json["pictures"] == 5
    assert headwater("rerun", tmp_path / "out").code == 0


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: x")]
)
def test_too_little_memory_is_no_bug(headwater, repaint, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("headwater.cli.walk.Walk._batch", full)
    assert "there is not enough memory: lower --batch" in headwater(*repaint()).sentence(1)
