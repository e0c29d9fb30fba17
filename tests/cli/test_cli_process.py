"""The command line as a process: start-up, pipes, signals."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIGHT = """
import sys, time
began = time.perf_counter()
import headwater
imported = time.perf_counter() - began
from headwater.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "numpy", "tyro", "PIL", "yaml"} & set(sys.modules)
print(code, imported, sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--help"], 0), (["list"], 0), (["apply", "--help"], 0), (["aply"], 2), (["apply", "repant"], 2)],
)
def test_lists_and_typos_load_nothing_heavy(words, code):
    done = subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1].startswith(f"{code} ")
    assert done.stderr.splitlines()[-1].endswith("[]")


def best_of(words: list[str], times: int = 3) -> float:
    """Least processor time of a command, in seconds: load on the machine does not count."""
    least = float("inf")
    for _ in range(times):
        before = os.times()
        subprocess.run(words, check=True, capture_output=True)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        least = min(least, used)
    return least


def test_start_up_is_fast():
    bare = best_of([sys.executable, "-c", "pass"])
    assert best_of([sys.executable, "-c", "import headwater"]) - bare < 0.06
    for word in ("--help", "list"):
        assert best_of([sys.executable, "-m", "headwater", word]) < 0.3


def test_a_closed_pipe_is_no_error():
    for words in ("list", "--help"):
        line = f"{sys.executable} -m headwater {words} | head -1; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert (done.stderr, done.returncode in (0, 1)) == ("", True)
        assert done.stdout.count("\n") == 1


def test_a_closed_output_is_no_error():
    line = f"{sys.executable} -m headwater list >&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_kill_leaves_whole_pictures(repaint, tmp_path):
    # 5 pictures, one at a time, each taking seconds: killed after the first few.
    words = repaint(batch=1, steps=20, jump=5, resample=25)
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    filled = tmp_path / "out/filled"
    deadline = time.monotonic() + 120
    while not list(filled.rglob("p*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = list(filled.rglob("p*.png"))
    assert 1 <= len(done) < 5
    assert all(path.read_bytes().endswith(b"IEND\xaeB`\x82") for path in done)
    assert (Path(tmp_path) / "out/run.yaml").exists()
