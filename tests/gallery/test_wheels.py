"""The two wheels as a user gets them: small code, whole gallery, one installed with the other or alone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from headwater.methods.catalogue import METHODS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "headwater"
GALLERY = ROOT / "gallery" / "src" / "headwater_gallery"
pytestmark = pytest.mark.slow


def run(*words: str | Path, where: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run in a folder, without what this checkout puts on the path."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, words)], cwd=where, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "gallery"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def held(wheels: Path, name: str) -> tuple[Path, set[str]]:
    """A wheel and the files in it."""
    (wheel,) = wheels.glob(f"{name}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel, set(archive.namelist())


def test_headwater_is_code_of_two_megabytes_at_most(wheels: Path) -> None:
    wheel, files = held(wheels, "headwater")
    assert wheel.stat().st_size <= 2e6
    assert not [name for name in files if name.endswith((".npz", ".safetensors")) or "/tests/" in name]
    for room in (entry.folder for entry in METHODS.values()):
        for path in (room / "README.md", *room.glob("recipes/*.yaml")):
            assert path.relative_to(SOURCE.parent).as_posix() in files
    assert any(name.endswith("licenses/NOTICE") for name in files)


def test_the_gallery_is_whole_with_its_licences(wheels: Path) -> None:
    _, files = held(wheels, "headwater_gallery")
    everything = {
        path.relative_to(GALLERY.parent).as_posix()
        for path in GALLERY.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert everything <= files
    for path in (GALLERY / "data" / "licences").iterdir():
        assert any("dist-info/licenses" in name and name.endswith(f"/{path.name}") for name in files)


def test_installed_with_the_extra_and_then_alone(wheels: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    # What the packages depend on is taken from the environment of this test, all but headwater itself.
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "headwater" not in path.name.lower() and not (own / path.name).exists():
            (own / path.name).symlink_to(path)
    python, headwater = place / "bin" / "python", place / "bin" / "headwater"
    offline = ("--no-index", "--find-links", wheels)
    run(python, "-m", "pip", "install", *offline, "headwater[gallery]", where=tmp_path)
    assert "shipped priors: brain," in run(headwater, "list", where=tmp_path).stdout
    sample = (headwater, "sample", "digits", "--n", "1", "--steps", "2")
    run(*sample, "--out", "x", where=tmp_path)
    assert (tmp_path / "x" / "run.yaml").is_file()

    run(python, "-m", "pip", "uninstall", "--yes", "headwater-gallery", where=tmp_path)
    assert "pip install" in run(headwater, "list", where=tmp_path).stdout
    done = run(*sample, "--out", "y", where=tmp_path, code=1)
    assert 'pip install "headwater[gallery]"' in done.stderr
