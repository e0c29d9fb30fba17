"""`apply` and `fit` over many files: what is finished stays, also after a kill, in one process or two."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from torch import Tensor

from headwater import atomic
from headwater.cli.files import Source
from headwater.cli.kinds import Request
from headwater.cli.parts import Part, Parts
from headwater.cli.walk import Walk
from headwater.methods.base import Kind
from headwater.sampling import Run
from under_torchrun import torchrun

IMAGES = Kind("images", "pictures")


@pytest.fixture
def dozen(tmp_path):
    """A folder of 13 pictures."""
    folder = tmp_path / "dozen"
    folder.mkdir()
    for i in range(13):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{i:02d}.png")
    return folder


def record(out: Path):
    return yaml.safe_load((out / "run.yaml").read_text())


def finished(out: Path) -> dict[str, int]:
    """Every result, with a number that changes when the file is written again."""
    return {p.relative_to(out).as_posix(): p.stat().st_ino for p in out.rglob("*.png")}


def test_a_resumed_run_redoes_nothing_and_ends_as_if_never_stopped(headwater, repaint, pictures, tmp_path):
    whole = (pictures / "p2.png").read_bytes()
    headwater(*repaint(batch=1, out=tmp_path / "never"))
    (pictures / "p2.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    headwater(*repaint(batch=1)).sentence(1)
    before = finished(out)
    assert len(before) == 3
    assert "--resume" in headwater(*repaint(batch=1)).sentence(1)
    (out / "filled/.headwater-0123456789abcdef.png").write_bytes(b"half")  # as a kill leaves it
    (pictures / "p2.png").write_bytes(whole)
    said = headwater(*repaint(batch=1), "--resume", "--json")
    assert said.json["items"] == 5
    after = finished(out)
    assert before.items() <= after.items()
    assert record(out)["outputs"] == record(tmp_path / "never")["outputs"]
    assert not (out / "unfinished").exists()
    assert headwater(*repaint(batch=1), "--resume", "--json").json == said.json
    assert finished(out) == after


def test_an_item_keeps_its_noise_when_others_are_left_out(headwater, repaint, pictures, tmp_path):
    headwater(*repaint(batch=2, out=tmp_path / "all"))
    (pictures / "p1.png").write_bytes(b"no picture")
    said = headwater(*repaint(batch=2, on_error="skip", out=tmp_path / "some"), "--json")
    assert list(said.json["skipped"]) == ["p1.png"]
    every, some = (record(tmp_path / name)["outputs"] for name in ("all", "some"))
    assert some == {name: value for name, value in every.items() if name != "filled/p1.png"}


def test_resume_wants_the_same_run(headwater, repaint, pictures, tmp_path):
    (pictures / "p3.png").write_bytes(b"no picture")
    headwater(*repaint(batch=2)).sentence(1)
    assert "seed 0, not 1" in headwater(*repaint(batch=2, seed=1), "--resume").sentence(1)
    Image.new("L", (16, 16)).save(pictures / "p9.png")
    assert "other files" in headwater(*repaint(batch=2), "--resume").sentence(1)
    (pictures / "p9.png").unlink()
    said = headwater(*repaint(batch=3, on_error="skip"), "--resume", "--json")
    assert (said.json["items"], list(said.json["skipped"])) == (4, ["p3.png"])


def test_batches_that_are_left_are_those_of_a_first_run(tmp_path):
    parts = Parts(tmp_path)
    assert parts.left(7, 3) == [range(3), range(3, 6), range(6, 7)]
    parts.add(Part(3, 6, {}, {}))
    assert parts.left(7, 3) == [range(3), range(6, 7)]
    assert parts.left(7, 2) == [range(2), range(2, 3), range(6, 7)]


def test_no_batch_is_held_longer_than_it_is_written(dozen, tmp_path):
    held: list[weakref.ref[Tensor]] = []
    most = 0

    def apply(image: Tensor, **how: Any) -> Tensor:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in held))
        held.append(weakref.ref(image))
        return image

    source = Source(IMAGES, Request("image", str(dozen), (1, 16, 16)))
    run = Run(batch_size=1, progress=False)
    walk = Walk(SimpleNamespace(apply=apply), {"image": source}, {}, {"same": IMAGES}, run, "stop")
    walk.over([range(i, i + 1) for i in range(13)], tmp_path / "out", None)
    assert len(held) == 13
    assert most <= 2


def test_a_batch_is_noted_when_its_files_and_their_names_are_on_the_disk(dozen, tmp_path, monkeypatch):
    synced: list[str] = []
    sync = atomic._sync

    def spy(path: Path) -> None:
        synced.append(path.name)
        sync(path)

    monkeypatch.setattr(atomic, "_sync", spy)
    source = Source(IMAGES, Request("image", str(dozen), (1, 16, 16)))
    same = SimpleNamespace(apply=lambda image, **how: image)
    walk = Walk(same, {"image": source}, {}, {"same": IMAGES}, Run(progress=False), "stop")
    walk.over([range(4)], tmp_path / "out", None)
    files, (folder, note, notes) = synced[:-3], synced[-3:]
    assert len(files) == 4
    assert atomic.ASIDE.fullmatch(note)
    assert (folder, notes) == ("same", "unfinished")


@pytest.mark.slow
def test_two_processes_and_a_kill(headwater, one_thread, prior, dozen, tmp_path):
    (dozen / "p07.png").write_bytes(b"no picture")
    words = ["apply", "anoddpm", "--prior", prior, "--image", dozen, "--level", "3"]
    words += ["--batch", "1", "--on-error", "skip", "--json", "--out"]
    alone, out = headwater(*words, tmp_path / "one"), tmp_path / "two"
    # Batch 3 is the second process's; batch 9 is too, and it does not live to see it.
    killed = torchrun(*words, out, kill=out / "unfinished/000000003.json")
    assert (killed.code, killed.out, len(killed.sentences)) == (1, "", 1)
    left = len(Parts(out).left(13, 1))
    assert 0 < left < 13
    before = finished(out)
    done = torchrun(*words, out, "--resume")
    assert (done.code, done.sentences) == (0, [])
    assert json.loads(done.out) == {**alone.json, "out": str(out)}
    assert record(out)["outputs"] == record(tmp_path / "one")["outputs"]
    assert len(record(out)["outputs"]) == 3 * 12 + 1
    assert len(before.items() - finished(out).items()) <= 2 * 2  # one batch a process was under way


@pytest.mark.slow
def test_two_processes_train_a_method(headwater, one_thread, tmp_path):
    with (tmp_path / "t.jsonl").open("w") as file:
        rows = [{"source": f"a {i} b c", "target": f"c b {i} a"} for i in range(9)]
        file.writelines(json.dumps(row) + "\n" for row in rows)
    # Two levels: after five steps the losses of both processes decide which one is drawn.
    words = ["fit", "diffuseq", "--source", tmp_path / "t.jsonl", "--target", tmp_path / "t.jsonl", "--T", 2]
    words += ["--steps", 2, "--length", 12, "--tokenizer", "word", "--vocabulary", 32, "--dim", 8]
    words += ["--hidden", 16, "--layers", 1, "--heads", 2, "--feedforward", 16, "--dropout", 0.1]
    words += ["--training.steps", 8, "--training.batch-size", 4, "--training.warmup", 1, "--json", "--out"]
    assert headwater(*words, tmp_path / "one", "--training.grad-accumulation", 2).code == 0
    assert torchrun(*words, tmp_path / "two", "--training.grad-accumulation", 2).code == 0
    one, two = (record(tmp_path / name)["outputs"] for name in ("one", "two"))
    assert one == two
    assert len(one) >= 1


def test_verbs_that_are_not_shared_say_so(headwater, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "without it" in headwater("sample", "digits").sentence(2)
    monkeypatch.setenv("RANK", "1")
    said = headwater("sample", "digits")
    assert (said.code, said.out, said.err) == (2, "", "")
