"""The price of a method leaves nothing out and counts nothing twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from headwater.methods.catalogue import METHODS
from tooling import TOOLS, tool

cost = tool("cost")
ROOT = TOOLS.parent


def test_every_file_under_methods_is_counted_once() -> None:
    count = cost.count(cost.tree())
    below = ROOT / "src" / "headwater" / "methods"
    files = [p for end in ("py", "md", "yaml") for p in below.rglob(f"*.{end}")]
    times = Counter(count.counted)
    assert {times[path.relative_to(ROOT).as_posix()] for path in files} == {1}
    assert set(times.values()) == {1}
    assert list(count.methods) == list(METHODS)
    in_methods = sum(sum(c.files.values()) for c in count.methods.values())
    of_none = sum(not owners for _, _, owners in count.shared.values())
    apart = sum(sum(c.files.values()) for c in count.apart.values())
    assert in_methods + of_none + apart == pytest.approx(len(count.counted))


def test_shared_files_are_split_among_those_that_import_them() -> None:
    room, own = "src/headwater/methods/{}/{}/method.py", "import headwater.methods.restoration.shared.both\n"
    texts = {
        room.format("restoration", "repaint"): own,
        room.format("anomaly", "anoddpm"): own * 3,
        "src/headwater/methods/restoration/shared/both.py": "import headwater.nets.rrdb\n" * 4,
        "src/headwater/nets/rrdb.py": "x = 1\n" * 6,
        "src/headwater/nets/adm.py": "x = 1\n",
        "src/headwater/methods/restoration/shared/left.py": "x = 1\n" * 5,
        "tests/claims/test_repaint_claim.py": "x = 1\n" * 7,
        "docs/methods/anoddpm.md": "# AnoDDPM\n",
    }
    count = cost.count(texts)
    assert count.methods["repaint"].lines == {"page": 1, "helpers": 2, "network": 3, "tests": 7}
    assert count.methods["anoddpm"].lines == {"page": 3, "helpers": 2, "network": 3, "docs": 1}
    assert count.methods["repaint"].files == {"page": 1, "helpers": 0.5, "network": 0.5, "tests": 1}
    assert count.total().row()[:2] == [7, 27]  # with what no room imports


def test_it_prints_a_line_a_method_and_the_sum() -> None:
    command = [sys.executable, str(TOOLS / "cost.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path("/"))
    first = [line.split()[0] for line in done.stdout.splitlines()[1 : len(METHODS) + 2]]
    assert first == [*METHODS, "sum"]
