"""Reading pictures: formats, modes, geometry, limits, and every way a file can be bad."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headwater.data import Limits, UnreadableError, list_pictures, read_picture
from headwater.data.pictures import list_pairs
from headwater.errors import UserError


@pytest.fixture
def ramp() -> np.ndarray:
    """Smooth 24 x 40 RGB picture."""
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([x * 6, y * 10, 255 - x * 6], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_four_formats_agree(tmp_path: Path, ramp: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(ramp).save(path, quality=95)
    image = read_picture(path, (3, 12, 20))
    expected = torch.from_numpy(ramp.reshape(12, 2, 20, 2, 3).mean((1, 3)) / 127.5 - 1)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, expected.permute(2, 0, 1).float(), atol=0.06, rtol=0)
    if suffix in ("png", "tif"):
        torch.testing.assert_close(image, expected.permute(2, 0, 1).float(), atol=1e-5, rtol=0)


def test_crop_is_centred_and_square(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png", (1, 10, 10)) == 1).all()
    Image.fromarray(pixels.T).save(tmp_path / "b.png")
    assert (read_picture(tmp_path / "b.png", (1, 5, 5)) == 1).all()


def test_small_pictures_grow_within_range(tmp_path: Path) -> None:
    Image.fromarray((np.arange(16).reshape(4, 4) % 2 * 255).astype(np.uint8)).save(tmp_path / "a.png")
    image = read_picture(tmp_path / "a.png", (3, 17, 9))
    assert image.shape == (3, 17, 9)
    assert image.abs().max() <= 1


def test_gray_becomes_rgb_and_back(tmp_path: Path, ramp: np.ndarray) -> None:
    Image.fromarray(ramp).convert("L").save(tmp_path / "gray.png")
    image = read_picture(tmp_path / "gray.png", (3, 24, 40))
    assert torch.equal(image[0], image[2])
    Image.fromarray(ramp).save(tmp_path / "rgb.png")
    luma = read_picture(tmp_path / "rgb.png", (1, 24, 40))
    assert (luma - image[:1]).abs().max() < 0.01


def test_sixteen_bit_png_keeps_its_depth(tmp_path: Path) -> None:
    values = np.array([[0, 257], [32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = read_picture(tmp_path / "deep.png", (1, 2, 2))
    torch.testing.assert_close(image[0], torch.tensor(values.astype(np.float32) / 32767.5 - 1))
    assert read_picture(tmp_path / "deep.png", (3, 2, 2)).shape == (3, 2, 2)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", (3, 4, 4)) == 1).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0])
    palette.save(tmp_path / "index.png", transparency=0)
    assert (read_picture(tmp_path / "index.png", (3, 4, 4)) == 1).all()


def test_orientation_tag_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = read_picture(tmp_path / "turned.jpg", (1, 8, 8))
    assert image[0, :4].mean() > 0.9 > -0.9 > image[0, 4:].mean()


def test_order_is_the_paths_and_hidden_or_foreign_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/10.PNG", "a/9.png", "c.jpeg", ".hidden.png", ".git/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path)]
    assert found == ["a/10.PNG", "a/9.png", "b/2.png", "c.jpeg"]


def test_pairs_are_matched_by_path_and_stem(tmp_path: Path) -> None:
    for name in ("img/a/1.jpg", "img/a/2.jpg", "img/b.png", "lab/a/2.png", "lab/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_pairs(tmp_path / "img", tmp_path / "lab")
    assert [(p.name, q.name) for p, q in found] == [("2.jpg", "2.png"), ("b.png", "b.png")]
    (tmp_path / "lab" / "c.png").touch()
    with pytest.raises(UserError, match=r"c\.png belongs to no picture"):
        list_pairs(tmp_path / "img", tmp_path / "lab")
    (tmp_path / "img" / "b.jpg").touch()
    with pytest.raises(UserError, match="have one name"):
        list_pairs(tmp_path / "img", tmp_path / "lab")


def test_missing_empty_and_non_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        list_pictures(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no PNG, JPEG, WebP or TIFF picture"):
        list_pictures(tmp_path)
    with pytest.raises(UnreadableError, match="does not exist"):
        read_picture(tmp_path / "a.png", (1, 4, 4))
    with pytest.raises(UserError, match="1 or 3 channels, not 4"):
        read_picture(tmp_path / "a.png", (4, 4, 4))
    with pytest.raises(ValueError, match="a picture has shape"):
        read_picture(tmp_path / "a.png", (1, 0, 4))


def png_bomb(width: int, height: int) -> bytes:
    """A valid PNG header that promises width x height gray pixels, and next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [8100, 11000, 60000])
def test_bombs_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(side, side))
    with pytest.raises(UnreadableError, match=r"bomb\.png .*shrink it"):
        read_picture(path, (1, 8, 8))


def test_limits_are_the_callers(tmp_path: Path, ramp: np.ndarray) -> None:
    Image.fromarray(ramp).save(tmp_path / "a.png")
    with pytest.raises(UnreadableError, match="more than 100"):
        read_picture(tmp_path / "a.png", (1, 8, 8), Limits(pixels=100))
    with pytest.raises(UnreadableError, match="bytes, more than 10"):
        read_picture(tmp_path / "a.png", (1, 8, 8), Limits(file_bytes=10))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.6])
def test_cut_files_are_named(tmp_path: Path, suffix: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(noise).save(whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UnreadableError, match=rf"cut\.{suffix}"):
        read_picture(cut, (3, 8, 8))


def test_other_formats_are_refused_whatever_their_name(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(UnreadableError, match="is not a PNG, JPEG, WEBP, TIFF file"):
        read_picture(tmp_path / "a.png", (1, 4, 4))
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UnreadableError, match=r"text\.jpg is not a"):
        read_picture(tmp_path / "text.jpg", (1, 4, 4))


def test_several_pages_are_refused(tmp_path: Path) -> None:
    page = Image.new("L", (4, 4))
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    with pytest.raises(UnreadableError, match="several pictures"):
        read_picture(tmp_path / "pages.tif", (1, 4, 4))
