"""One output folder belongs to one run, and nothing in it that is the user's is touched."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headwater.atomic import sha256
from headwater.cli import main, parts, record
from headwater.cli.output import check_names
from headwater.errors import UserError
from headwater.locks import LOCK, locked


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder, with its hash."""
    return {p.relative_to(folder).as_posix(): sha256(p) for p in folder.rglob("*") if p.is_file()}


def results(out: Path) -> dict[str, str]:
    """The same without what holds times."""
    return {k: v for k, v in files(out).items() if k not in ("run.yaml", "index.html")}


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


# --- the lock


HOLDER = """
import sys, time
from headwater.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_the_first_is_and_a_dead_one_is_in_nobodys_way(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "out"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {holder.pid} of"), locked(tmp_path / "out"):
            pass
        assert (tmp_path / "out" / LOCK).exists()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with locked(tmp_path / "out"):
        assert json.loads((tmp_path / "out" / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "out" / LOCK).exists()


def test_a_holder_on_another_machine_counts_until_it_gives_no_sign(tmp_path):
    lock = tmp_path / LOCK
    lock.write_text(json.dumps({"pid": 7, "host": "elsewhere"}))
    with pytest.raises(UserError, match="process 7 of elsewhere"), locked(tmp_path):
        pass
    assert lock.exists()
    hour = time.time() - 3600
    os.utime(lock, (hour, hour))
    with locked(tmp_path):
        pass


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with locked(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("verb", ["apply", "sample", "fit", "degrade", "reproduce", "tour", "bench"])
def test_every_verb_that_writes_asks_first(headwater, repaint, prior, pictures, tmp_path, verb):
    out = tmp_path / "out"
    words = {
        "apply": repaint(),
        "sample": ["sample", prior, "--out", out],
        "fit": ["fit", "prior", pictures, "--shape", 1, 16, 16, "--out", out],
        "degrade": ["degrade", pictures, "--by", "grey", "--out", out],
        "reproduce": ["reproduce", "repaint", "--out", out],
        "tour": ["tour", "--out", out],
        "bench": ["bench", "--only", "core", "--keep", out],
    }[verb]
    with locked(out):
        said = headwater(*words).sentence(1)
    assert f"is being written by process {os.getpid()}" in said
    assert not out.exists()


# --- what is the user's


def test_results_do_not_go_among_the_inputs_nor_inputs_among_the_results(
    headwater, repaint, pictures, tmp_path
):
    before = files(tmp_path)
    for out in (pictures, pictures / "results"):
        assert "--image" in headwater(*repaint(out=out)).sentence(1)
    assert "lies in" in headwater(*repaint(out=tmp_path)).sentence(1)
    assert files(tmp_path) == before


def test_overwriting_takes_away_what_the_last_run_left_and_nothing_else(
    headwater, repaint, pictures, tmp_path
):
    out = tmp_path / "out"
    assert headwater(*repaint()).code == 0
    (out / "filled" / "mine.png").write_bytes(b"mine")
    (out / ".tmp-mine").mkdir()
    (out / ".tmp-mine" / "a").write_text("mine")
    (pictures / "p0.png").unlink()
    assert headwater(*repaint(), "--overwrite").code == 0
    assert sorted(p.name for p in (out / "filled").iterdir()) == [
        "mine.png",
        "more",
        "p1.png",
        "p2.png",
        "p3.png",
    ]
    assert (out / ".tmp-mine" / "a").read_text() == "mine"
    assert "filled/mine.png" not in record.read_record(out)["outputs"]


def test_a_result_that_the_user_changed_is_not_thrown_away(headwater, repaint, tmp_path):
    assert headwater(*repaint()).code == 0
    (tmp_path / "out" / "filled" / "p1.png").write_bytes(b"mine")
    before = files(tmp_path)
    assert "p1.png was changed" in headwater(*repaint(), "--overwrite").sentence(1)
    assert files(tmp_path) == before


def test_another_kind_of_run_is_not_overwritten(headwater, repaint, prior, tmp_path):
    assert headwater(*repaint()).code == 0
    before = files(tmp_path)
    said = headwater("sample", prior, "--out", tmp_path / "out", "--overwrite").sentence(1)
    assert "holds the results of apply repaint" in said
    assert files(tmp_path) == before


@pytest.mark.parametrize("mine", ["index.html", "filled/p0.png", "run.yaml/x"])
@pytest.mark.parametrize("words", [["--overwrite"], ["--resume"]])
def test_a_file_of_the_users_is_in_the_way_and_stays(headwater, repaint, tmp_path, mine, words):
    path = tmp_path / "out" / mine
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    headwater(*repaint(), *words).sentence(1)
    assert path.read_text() == "mine"
    assert files(tmp_path / "out") == {mine: sha256(path)}


def test_a_tour_replaces_a_tour_alone(headwater, tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("mine")
    monkeypatch.setattr("headwater.experiments.tour.tour", lambda *_, **__: pytest.fail("it began"))
    assert "choose another --out" in headwater("tour", "--out", tmp_path).sentence(1)
    assert (tmp_path / "index.html").read_text() == "mine"


# --- a run that was stopped


@pytest.fixture
def begun(headwater, repaint, pictures, tmp_path):
    """An unfinished run: p0 and p1 are done; what stopped it is mended."""
    whole = (pictures / "p2.png").read_bytes()
    (pictures / "p2.png").write_bytes(b"no picture")
    headwater(*repaint(batch=1)).sentence(1)
    (pictures / "p2.png").write_bytes(whole)
    headwater(*repaint(batch=1, out=tmp_path / "never"))
    return tmp_path / "out"


@pytest.mark.parametrize("spoil", ["missing", "empty", "other"])
def test_a_finished_file_is_believed_if_it_is_as_it_was_written(headwater, repaint, begun, tmp_path, spoil):
    file = begun / "filled" / "p1.png"
    if spoil == "missing":
        file.unlink()
    else:
        file.write_bytes(b"" if spoil == "empty" else b"other")
    said = headwater(*repaint(batch=1), "--resume")
    assert said.code == 0
    assert "p1.png: is not as it was written" in said.err
    assert results(begun) == results(tmp_path / "never")


def test_an_input_that_changed_is_named_and_one_that_was_only_touched_is_not(
    headwater, repaint, pictures, begun
):
    hour = time.time() - 3600
    os.utime(pictures / "p0.png", (hour, hour))
    before = files(begun)
    content = (pictures / "p1.png").read_bytes()
    picture(pictures / "p1.png", 99)
    assert "p1.png is not the file" in headwater(*repaint(batch=1), "--resume").sentence(1)
    assert files(begun) == before
    (pictures / "p1.png").write_bytes(content)
    assert headwater(*repaint(batch=1), "--resume").code == 0


def test_a_mask_that_changed_is_named(headwater, repaint, mask, begun):
    Image.new("L", (16, 16), 255).save(mask)
    assert f"{mask} is not the file" in headwater(*repaint(batch=1), "--resume").sentence(1)


def test_an_unfinished_run_is_not_judged(headwater, pictures, begun):
    said = headwater("evaluate", "repaint", "--result", begun, "--truth", pictures).sentence(1)
    assert "--resume" in said


def test_a_finished_run_with_a_result_gone_is_not_called_done(headwater, repaint, tmp_path):
    assert headwater(*repaint()).code == 0
    (tmp_path / "out" / "filled" / "p3.png").unlink()
    assert "p3.png is not as its run left it" in headwater(*repaint(), "--resume").sentence(1)


def test_a_rerun_names_what_is_not_as_it_was(headwater, repaint, pictures, tmp_path):
    assert headwater(*repaint()).code == 0
    picture(pictures / "p2.png", 99)
    said = headwater("rerun", tmp_path / "out")
    assert said.code == 1
    assert "p2.png is not what was read" in said.out


def test_overwriting_an_unfinished_run_leaves_none_of_its_files(headwater, repaint, pictures, begun):
    (begun / "filled" / "mine.png").write_bytes(b"mine")
    shutil.rmtree(pictures / "more")
    (pictures / "p0.png").unlink()
    (pictures / "p1.png").unlink()
    assert headwater(*repaint(), "--overwrite").code == 0
    assert sorted(p.name for p in (begun / "filled").iterdir()) == ["mine.png", "p2.png", "p3.png"]


DYING = """
import itertools, os, signal, sys
import torch
from headwater.cli import apply, main
from headwater.cli.parts import Parts

torch.set_num_threads(1)

def dying(at):
    # Dies before the change of a name number `at`, counted from where the last batch is done.
    left, join = [at], Parts.join
    def counted(real):
        def call(*words, **more):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*words, **more)
        return call
    def joined(self, tables):
        os.replace, os.unlink, os.rmdir = map(counted, (os.replace, os.unlink, os.rmdir))
        join(self, tables)
    Parts.join = joined

for at in itertools.count():
    child = os.fork()
    if not child:
        dying(at)
        os._exit(main([*sys.argv[1:], f"out-{at}"]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != -signal.SIGKILL:
        sys.exit(code)
"""


def test_the_last_steps_may_stop_between_any_two(headwater, one_thread, prior, pictures, tmp_path):
    words = ["apply", "anoddpm", "--prior", prior, "--image", pictures, "--level", 3, "--batch", 2, "--out"]
    assert headwater(*words, tmp_path / "never").code == 0
    given = [sys.executable, "-W", "ignore", "-c", DYING, *map(str, words)]
    subprocess.run(given, cwd=tmp_path, check=True, capture_output=True)
    outs = sorted(tmp_path.glob("out-*"))
    assert len(outs) >= 9  # table, record, three notes and their list, their folder, the lock, the end
    for out in outs:
        assert headwater(*words, out, "--resume", "--json").json["items"] == 5
        assert results(out) == results(tmp_path / "never"), out
        assert not (out / parts.FOLDER).exists()


# --- a disk that is full


@pytest.mark.parametrize("to", ["w.pt", "w.safetensors", "ours", "theirs"])
@pytest.mark.parametrize("kilobytes", [0, 20, 600])
def test_a_conversion_to_a_full_disk_is_a_sentence_and_leaves_nothing(
    prior, tmp_path, monkeypatch, to, kilobytes
):
    said = []
    monkeypatch.setattr("headwater.cli.voice.say_the_end", lambda sentence, _: said.append(sentence))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    form = {"ours": "headwater", "theirs": "diffusers"}.get(to, "adm")
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, hard))  # a write beyond is refused
    try:
        code = main(["convert", str(prior), str(tmp_path / to), "--to", form])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    assert "cannot write" in said[0]
    assert "free some space" in said[0]
    assert not list(tmp_path.iterdir())


# --- names


def named(folder: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        picture(folder / name, i)
    return folder


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "字" * 83 + ".png", "a\u202eb.png"])
def test_a_name_may_be_as_long_as_the_system_lets_it(headwater, repaint, tmp_path, name):
    folder = named(tmp_path / "long", [name])
    assert headwater(*repaint(image=folder)).code == 0
    assert (tmp_path / "out" / "filled" / name).is_file()


def test_a_name_that_a_result_cannot_have_is_refused(tmp_path):
    with pytest.raises(UserError, match="more than 255 bytes"):
        check_names({"y" * 254: [f"made/{'y' * 254}.png"]}, (), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux alone")
def test_a_name_that_is_no_utf8_is_refused_before_work(headwater, repaint, tmp_path):
    folder = named(tmp_path / "odd", ["a.png"])
    os.rename(folder / "a.png", os.fsencode(folder) + b"/caf\xe9.png")
    assert "is no UTF-8" in headwater(*repaint(image=folder)).sentence(1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"a/b": ["o/a/b.png"], "a//b": ["o/a//b.png"]}, "a/b and a//b would have one result"),
        ({"a/b": ["o/a/b.png"], "./a/b": ["o/./a/b.png"]}, "would have one result"),
        ({"x.jpg": ["o/x.png"], "x.png/y.jpg": ["o/x.png/y.png"]}, "needs a folder"),
    ],
)
def test_results_that_would_be_one_file_are_refused(tmp_path, made, said):
    with pytest.raises(UserError, match=said):
        check_names(made, (), tmp_path)


def test_where_the_system_folds_case_names_that_differ_in_it_are_refused(tmp_path):
    made = {"A.png": ["o/A.png"], "a.png": ["o/a.png"]}
    assert check_names(made, ("t.csv",), tmp_path) == ["o/A.png", "o/a.png", "t.csv"]
    (tmp_path / LOCK.upper()).touch()  # as a system that folds would have it
    with pytest.raises(UserError, match="would have one result"):
        check_names(made, (), tmp_path)
    with pytest.raises(UserError, match="would have one result"):
        check_names({"caf\u00e9": ["o/caf\u00e9.png"], "cafe\u0301": ["o/cafe\u0301.png"]}, (), tmp_path)


def test_what_a_name_says_to_a_terminal_is_written_out(headwater, repaint, tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a\x1b[31m.png").write_bytes(b"no picture")
    said = headwater(*repaint(image=tmp_path / "odd")).sentence(1)
    assert "\x1b" not in said
    assert "a\\x1b[31m.png" in said
