"""Progress: a line now and then where standard error is no terminal, nothing for short work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headwater import progress
from headwater.progress import ProgressBar, track

LOOP = """
from headwater import progress
clock = 0.0
def monotonic():
    global clock
    clock += 0.05
    return clock
progress.time.monotonic = monotonic
with progress.ProgressBar(2000, "training", unit="steps") as bar:
    for i in range(2000):
        bar.update(note=f"loss {1 / (i + 1):.4f}")
"""


def test_two_thousand_steps_leave_a_few_lines_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        subprocess.run([sys.executable, "-c", LOOP], stderr=file, check=True)
    text = log.read_text()
    lines = text.splitlines()
    assert 3 <= len(lines) <= 6
    assert len(text) < 2000
    assert "\r" not in text
    assert lines[-1].startswith("training: 2000/2000 steps, ")
    assert lines[-1].endswith("s each, loss 0.0005")


def test_short_and_hidden_work_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(track(range(3), "quick")) == [0, 1, 2]
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with ProgressBar(3, "hidden", shown=False) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
    assert list(track(iter("ab"), "told", total=2)) == ["a", "b"]
    assert capsys.readouterr().err.startswith("told: 1/2 it, ")
