"""A folder is whole or absent, whatever happens while it is written."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from headwater.atomic import MANIFEST, is_whole, read_json, sweep, verify, written_aside
from headwater.errors import UserError


def write(folder: Path, text: str) -> None:
    with written_aside(folder) as tmp:
        (tmp / "a.txt").write_text(text)
        (tmp / "deep").mkdir()
        (tmp / "deep" / "b.txt").write_text("b")


def test_written_folder_is_whole_and_replaced_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    write(tmp_path / "x", "two")
    assert sorted(verify(tmp_path / "x")) == ["a.txt", "deep/b.txt"]
    assert (tmp_path / "x" / "a.txt").read_text() == "two"
    assert os.listdir(tmp_path) == ["x"]


def test_replacing_works_without_an_exchange_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.atomic._exchange", lambda one, other: False)
    write(tmp_path / "x", "one")
    write(tmp_path / "x", "two")
    assert (tmp_path / "x" / "a.txt").read_text() == "two"
    assert os.listdir(tmp_path) == ["x"]


def test_failure_inside_keeps_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "x", "one")
    writing = written_aside(tmp_path / "x")
    with pytest.raises(ZeroDivisionError), writing as tmp:
        (tmp / "a.txt").write_text(str(1 // 0))
    assert (tmp_path / "x" / "a.txt").read_text() == "one"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / MANIFEST).unlink(), "never finished"),
        (lambda d: (d / "a.txt").unlink(), "missing"),
        (lambda d: (d / "a.txt").write_text("onf"), "not the file"),
        (lambda d: (d / "a.txt").write_text(""), "not the file"),
        (lambda d: (d / MANIFEST).write_text("{"), "not valid JSON"),
        (lambda d: (d / MANIFEST).write_text("[" * 100_000), "not valid JSON"),
        (lambda d: (d / MANIFEST).write_text("[]"), "JSON object"),
        (lambda d: (d / MANIFEST).write_text('{"files": {"../a": {"bytes": 1, "sha256": ""}}}'), "outside"),
        (lambda d: (d / MANIFEST).write_text('{"files": {"a.txt": 3}}'), "size of"),
    ],
)
def test_a_folder_that_was_changed_is_refused(tmp_path: Path, spoil, message: str) -> None:
    write(tmp_path / "x", "one")
    spoil(tmp_path / "x")
    with pytest.raises(UserError, match=message):
        verify(tmp_path / "x")
    assert not is_whole(tmp_path / "x")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"), written_aside(tmp_path / "file" / "x"):
        pass
    with pytest.raises(UserError, match="is a file"), written_aside(tmp_path / "file"):
        pass


def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path: Path) -> None:
    """Saving into one's home must not delete it."""
    write(tmp_path / "x", "one")
    (tmp_path / "x" / "deep" / "thesis.tex").write_text("years")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    for folder in ("x", "home"):
        with pytest.raises(UserError, match=r"thesis\.tex\): choose a new or empty folder"):
            write(tmp_path / folder, "two")
    assert (tmp_path / "x" / "a.txt").read_text() == "one"
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"


def test_large_json_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "big.json", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UserError, match="larger than"):
        read_json(tmp_path / "big.json")


def write_and_die(folder: Path, when: int) -> bool:
    """Write in a child that kills itself at its `when`-th touch of a file; whether it lived."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    count = 0

    def note(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        touches = event == "open" and str(folder.parent) in str(args[0])
        if touches or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "ctypes.dlsym"):
            count += 1
            if count == when:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    write(folder, "two")
    os._exit(0)


def test_a_killed_writer_leaves_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    seen = set()
    for when in range(1, 40):
        write(folder, "one")
        lived = write_and_die(folder, when)
        verify(folder)
        seen.add((folder / "a.txt").read_text())
        sweep(tmp_path)
        assert os.listdir(tmp_path) == ["x"]
        if lived:
            break
    assert seen == {"one", "two"}
    assert lived
    assert when > 8
