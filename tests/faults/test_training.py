"""What was learnt, and what it was learnt from: never mixed with another, and nothing of the user's goes."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from headwater.cli.files import Source
from headwater.cli.kinds import Request
from headwater.methods.base import Kind

SMALL = {
    "training.steps": 2, "training.batch-size": 2, "channels": 8, "layers": 1, "heads": 2, "step-dim": 8,
    "time-dim": 8, "feature-dim": 4, "chain.T": 5, "length": 16, "samples": 2,
}  # fmt: skip
"""Options of `fit csdi` that take a moment."""
RECIPE: dict[str, Any] = {
    "shape": [1, 16, 16],
    "network": {"model_channels": 32, "num_res_blocks": 1, "channel_mult": [1], "attention_resolutions": []},
    "process": {"T": 8, "betas": "cosine"},
    "training": {"steps": 4, "batch_size": 2, "lr": 0.001, "checkpoint_every": 0.0},
    "sample_every": 0,
}


@pytest.fixture
def series(tmp_path):
    """Two tables with gaps."""
    folder = tmp_path / "series"
    folder.mkdir()
    for name in "ab":
        rows = [f"{i},{'' if 20 < i < 30 else i % 7},{i * 3 % 5}" for i in range(60)]
        (folder / f"{name}.csv").write_text("\n".join(["time,x,y", *rows]) + "\n")
    return folder


@pytest.fixture
def fit_csdi(series, tmp_path):
    def words(out, *more):
        small = [word for key, value in SMALL.items() for word in (f"--{key}", value)]
        return ["fit", "csdi", "--series", series, "--out", tmp_path / out, *small, *more]

    return words


@pytest.fixture
def learnt_from(tmp_path):
    """Six pictures."""
    folder = tmp_path / "learnt"
    folder.mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{i}.png")
    return folder


@pytest.fixture
def fit_prior(learnt_from, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"data": str(learnt_from), **RECIPE}))
    return lambda out, *more: ["fit", "prior", "--recipe", tmp_path / "tiny.yaml", "--out", out, *more]


def test_a_training_does_not_go_on_with_other_pictures(
    headwater, fit_prior, learnt_from, tmp_path, monkeypatch
):
    taken, step = [0], torch.optim.AdamW.step

    def stopped(self, *words):
        taken[0] += 1
        if taken[0] == 3:
            raise KeyboardInterrupt
        return step(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", stopped)
        assert headwater(*fit_prior(tmp_path / "out")).code == 130
    whole = (learnt_from / "p3.png").read_bytes()
    Image.new("L", (16, 16), 7).save(learnt_from / "p3.png")
    said = headwater(*fit_prior(tmp_path / "out"), "--resume")
    assert said.code == 1
    assert "but the training in" in said.err
    (learnt_from / "p3.png").write_bytes(whole)
    assert headwater(*fit_prior(tmp_path / "out"), "--resume").code == 0


def test_a_training_begins_in_no_folder_of_the_users(headwater, fit_prior, fit_csdi, tmp_path):
    mine = {"p/.tmp-photos/a.png", "p/recipe.yaml", "p/index.html", "c/checkpoints/other/step-00000005/w"}
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    for words in ([], ["--resume"]):
        headwater(*fit_prior(tmp_path / "p"), *words).sentence(1)
    for words in ([], ["--overwrite"], ["--resume"]):
        headwater(*fit_csdi("c", *words)).sentence(1)
    for name in mine:
        assert (tmp_path / name).read_text() == "mine"
    assert len([p for root in "pc" for p in (tmp_path / root).rglob("*") if p.is_file()]) == len(mine)


def test_results_of_two_fitted_networks_are_not_mixed(headwater, fit_csdi, series, tmp_path):
    assert headwater(*fit_csdi("one")).code == 0
    assert headwater(*fit_csdi("two", "--seed", 1)).code == 0
    words = ["apply", "csdi", "--series", series, "--fitted", tmp_path / "one", "--batch", 1, "--out"]
    whole = (series / "b.csv").read_bytes()
    (series / "b.csv").write_text("time,x,y\n")
    assert headwater(*words, tmp_path / "out").code == 1
    (series / "b.csv").write_bytes(whole)
    assert headwater(*words, tmp_path / "done").code == 0
    shutil.rmtree(tmp_path / "one" / "fitted")
    shutil.copytree(tmp_path / "two" / "fitted", tmp_path / "one" / "fitted")
    said = headwater(*words, tmp_path / "out", "--resume").sentence(1)
    assert "was begun with another fitted network" in said
    said = headwater("rerun", tmp_path / "done")
    assert said.code == 1
    assert "the fitted network is not the one that was used" in said.out


def test_of_a_volume_in_two_files_both_are_known_again(tmp_path):
    """The header that is given, and the values beside it, whatever the case of its name."""
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    nibabel.Nifti1Pair(values, np.eye(4)).to_filename(tmp_path / "v.img")
    (tmp_path / "v.img").rename(tmp_path / "V.IMG")
    source = Source(Kind("images", ""), Request("image", str(tmp_path / "v.hdr"), (1, 16, 16)))
    assert len(source) == 3
    assert list(source.read_from([0, 2])) == [str(tmp_path / "V.IMG"), str(tmp_path / "v.hdr")]
