"""Where the gallery is not installed, a shipped name gets one sentence that says what to install."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from headwater import gallery
from headwater.errors import UserError

ROOT = Path(__file__).parents[2]
INSTALL = 'are in headwater-gallery, which is not installed: pip install "headwater[gallery]"'
WITHOUT = "import sys; sys.modules['headwater_gallery'] = None\n"
"""How a child process begins that cannot find the gallery, installed or not."""


def without(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *words], capture_output=True, text=True, check=False
    )


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return without("from headwater.cli import main; sys.exit(main(sys.argv[1:]))", *words)


def test_the_list_says_so_and_works() -> None:
    done = command("list")
    assert done.returncode == 0, done.stderr
    assert "repaint" in done.stdout
    assert done.stdout.endswith(f"\nshipped priors, fitted methods and data {INSTALL}\n")
    found = json.loads(command("list", "--json").stdout)
    assert "repaint" in found["methods"]
    assert [found[kind] for kind in ("priors", "fitted", "data")] == [[], [], []]


def test_python_says_so(tmp_path: Path) -> None:
    code = """
import headwater as hw
from headwater.data import open_dataset
from headwater.gallery import shipped_fitted
from headwater.models import inspect
for ask in (
    lambda: hw.load("digits"), lambda: hw.load("verses"), lambda: open_dataset("digits:test"),
    lambda: hw.load("mnist"), lambda: hw.Prior.from_pretrained("digits"), lambda: inspect("digits"),
    lambda: shipped_fitted("csdi-air-0"), lambda: hw.Prior.from_pretrained("./digits"),
):
    try:
        ask()
    except ValueError as error:
        print(error)
assert hw.shipped() == []
"""
    done = without(code)
    assert done.returncode == 0, done.stderr
    data, verses, opened, typo, prior, inspected, fitted, path = done.stdout.splitlines()
    assert data == verses == opened == f"shipped data {INSTALL}"
    assert prior == inspected == f"there is no 'digits' here, and shipped priors {INSTALL}"
    assert fitted == f"there is no 'csdi-air-0' here, and shipped fitted methods {INSTALL}"
    # Neither a set that never shipped nor a path is helped by the gallery.
    assert "no shipped set is called 'mnist'" in typo
    assert path.startswith("there is no prior './digits'")
    assert "gallery" not in typo + path


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("apply", "csdi", "--fitted", "csdi-air-0", "--series", "air", "--out", "x"), "fitted methods"),
        (("sample", "digits", "--n", "1", "--out", "x"), "priors"),
        (("fit", "prior", "--recipe", "digits", "--out", "x"), "data"),
    ],
    ids=lambda found: found[0] if isinstance(found, tuple) else "",
)
def test_the_command_line_says_so(words: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    done = command(*words[:-1], str(tmp_path / words[-1]))
    assert done.returncode == 1
    assert f"shipped {kind} {INSTALL}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_with_it_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean 'csdi-air-0'"):
        gallery.run_folder("csdi-air0")
    assert gallery.find("priors", "digit") is None


def test_both_distributions_have_one_version() -> None:
    code, data = (
        tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]
        for path in ("pyproject.toml", "gallery/pyproject.toml")
    )
    assert data["version"] == code["version"]
    assert code["optional-dependencies"]["gallery"] == [f"headwater-gallery=={code['version']}"]
    assert "dependencies" not in data
