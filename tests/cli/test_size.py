"""Pictures larger than the prior's: `--size`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Said


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A folder of two pictures that are larger than the prior's on both sides."""
    folder = tmp_path / "wide"
    folder.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (33, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"w{i}.png")
    return folder


@pytest.fixture
def hole(tmp_path: Path) -> Path:
    pixels = np.full((33, 50), 255, dtype=np.uint8)
    pixels[10:20, 20:40] = 0
    Image.fromarray(pixels).save(tmp_path / "hole.png")
    return tmp_path / "hole.png"


def test_results_have_the_pictures_own_size_and_keep_what_is_known(
    headwater: Callable[..., Said], repaint: Callable[..., list[str]], wide: Path, hole: Path, tmp_path: Path
) -> None:
    said = headwater(*repaint(image=wide, known=hole, size="own"))
    assert said.code == 0, said
    assert "worked on" not in said.err
    known = pixels(hole) > 0
    for name in ("w0.png", "w1.png"):
        before, after = (pixels(folder / name) for folder in (wide, tmp_path / "out" / "filled"))
        assert after.shape == (33, 50)
        assert (after[known] == before[known]).all()
        assert (after != before).any()
    judged = headwater("evaluate", "repaint", "--result", tmp_path / "out", "--truth", wide, "--known", hole)
    assert judged.code == 0, judged


def test_that_pictures_are_made_smaller_is_said(
    headwater: Callable[..., Said], repaint: Callable[..., list[str]], wide: Path
) -> None:
    said = headwater(*repaint(image=wide))
    assert "--image: the pictures are 50x33 and are worked on at the prior's 16x16: --size own" in said.err


def test_samples_of_any_larger_size(headwater: Callable[..., Said], prior: Path, tmp_path: Path) -> None:
    words = ("sample", prior, "--n", 1, "--steps", 2, "--size", "20x40", "--out", tmp_path / "drawn")
    assert headwater(*words).code == 0
    assert pixels(tmp_path / "drawn" / "pictures" / "00000.png").shape == (20, 40)


@pytest.mark.parametrize(
    ("size", "code", "sentence"),
    [
        ("big", 2, "--size cannot be 'big': give HEIGHTxWIDTH, such as 200x600, or own"),
        ("8x40", 1, "tiles are 16 x 16 and the size asked for is 8 x 40: give a larger one"),
        ("99999x99999", 1, "pictures of 1x99999x99999 cannot be: correct their shape"),
    ],
)
def test_a_size_that_cannot_be_is_refused(
    headwater: Callable[..., Said],
    repaint: Callable[..., list[str]],
    size: str,
    code: int,
    sentence: str,
    tmp_path: Path,
) -> None:
    assert headwater(*repaint(size=size)).sentence(code) == sentence
    assert not (tmp_path / "out").exists()


def test_measured_pictures_do_not_say_the_size_of_results(
    headwater: Callable[..., Said], prior: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ("apply", "ddrm", "--prior", prior, "--measured", pictures, "--by", "block-average 2")
    said = headwater(*words, "--size", "own", "--out", tmp_path / "out")
    assert "give HEIGHTxWIDTH" in said.sentence(2)
