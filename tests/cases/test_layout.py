"""Files of pictures as people have them: read right, read with a note, or asked about."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from headwater.data import UnreadableError, list_pictures, open_dataset, read_picture
from headwater.data.formats import named
from headwater.data.pictures import picture_shape
from headwater.errors import UserError

RAMP = np.tile(np.array([0, 80, 160, 255], np.uint8), (4, 1))
UNIT = RAMP / 255


def grey(path: Path, **how: Any) -> list[int]:
    """The first row of a picture of 4 x 4 pixels as numbers of 8 bits."""
    return ((read_picture(path, (1, 4, 4), **how)[0, 0] + 1) * 127.5).round().int().tolist()


def tiff(
    path: Path, pixels: np.ndarray, photometric: int, bits: int, kind: int = 1, opacity: int = 0
) -> Path:
    """An uncompressed TIFF as its fields say; kind 1 unsigned, 2 signed, 3 float."""
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    data = np.packbits(pixels, axis=1).tobytes() if bits == 1 else pixels.tobytes()
    tags: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * samples), (259, 3, [1]),
        (262, 3, [photometric]), (273, 4, [8]), (277, 3, [samples]), (278, 4, [height]),
        (279, 4, [len(data)]), *([(338, 3, [opacity])] if opacity else []), (339, 3, [kind]),
    ]  # fmt: skip
    start = 8 + len(data)
    apart, entries = b"", b""
    for tag, size, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if size == 3 else 'I'}", *values)
        if len(packed) > 4:
            place = struct.pack("<I", start + 2 + 12 * len(tags) + 4 + len(apart))
            apart, packed = apart + packed, place
        entries += struct.pack("<HHI", tag, size, len(values)) + packed.ljust(4, b"\0")
    head = struct.pack("<2sHI", b"II", 42, start)
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + apart)
    return path


def png(path: Path, depth: int, colour: int, rows: np.ndarray, more: bytes = b"") -> Path:
    """A PNG of rows of bytes, four pixels wide."""
    header = struct.pack(">IIBBBBB", 4, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    path.write_bytes(data)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def phone(path: Path, second: tuple[int, int] = (8, 8)) -> np.ndarray:
    """A multi-picture JPEG, as phones write it; its first picture, decoded."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    behind = Image.new("RGB", second)
    Image.fromarray(pixels).save(path, "MPO", save_all=True, append_images=[behind], quality=95)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 2
        return np.array(image)


# Formats


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.jpeg", "a.mpo", "a.jfif", "a.png"])
def test_a_photo_with_a_second_picture_behind_it_is_that_photo(
    tmp_path: Path, name: str, caplog: Any
) -> None:
    first = phone(tmp_path / name)
    found = read_picture(tmp_path / name, (3, 24, 32))
    assert torch.equal(((found + 1) * 127.5).round().byte().permute(1, 2, 0), torch.from_numpy(first))
    assert list_pictures(tmp_path) == [tmp_path / name]
    assert not caplog.records


def test_two_pictures_of_one_size_are_said(tmp_path: Path, caplog: Any) -> None:
    phone(tmp_path / "3d.jpg", (32, 24))
    read_picture(tmp_path / "3d.jpg", (3, 24, 32))
    assert "as cameras with two lenses make: the first is used" in caplog.text


@pytest.mark.parametrize(
    ("name", "what"), [("a.tif", "2 pages"), ("a.png", "2 frames"), ("a.webp", "2 frames")]
)
def test_pages_and_animations_stay_refused(tmp_path: Path, name: str, what: str) -> None:
    one, two = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), (200, 0, 0))
    one.save(tmp_path / name, save_all=True, append_images=[two])
    with pytest.raises(UnreadableError, match=rf"holds several pictures \({what}\): save them one by one"):
        read_picture(tmp_path / name, (1, 4, 4))


@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_whose_zero_is_white_is_turned_over(tmp_path: Path, photometric: int) -> None:
    row = [0, 80, 160, 255] if photometric else [255, 175, 95, 0]
    path = tmp_path / "a.tif"
    assert grey(tiff(path, RAMP, photometric, 8)) == row
    assert grey(tiff(path, RAMP.astype("<u2") * 257, photometric, 16)) == row
    assert grey(tiff(path, UNIT.astype("<f4"), photometric, 32, 3)) == row
    flat = [0, 0, 255, 255] if photometric else [255, 255, 0, 0]
    assert grey(tiff(path, (RAMP > 100).astype(np.uint8), photometric, 1)) == flat


def test_twelve_bits_in_sixteen_are_asked_about_and_the_advice_works(tmp_path: Path, caplog: Any) -> None:
    deep = RAMP.astype("<u2") * 16
    files = [tiff(tmp_path / "a.tif", deep, 1, 16), png(tmp_path / "a.png", 16, 0, deep.astype(">u2"))]
    for path in files:
        with pytest.raises(
            UnreadableError, match=r"none above 4080: give --window 0 4095 .*of 12 bits, or --w"
        ):
            read_picture(path, (1, 4, 4))
        assert grey(path, window=(0, 4095)) == [0, 80, 159, 254]
        assert grey(path, window=(0, 65535)) == [0, 5, 10, 16]
    assert grey(tiff(tmp_path / "b.tif", deep, 0, 16), window=(0, 4095)) == [255, 175, 96, 1]
    assert "low values are white, so the window's low end is white" in caplog.text
    caplog.clear()
    assert grey(tiff(tmp_path / "c.tif", RAMP.astype("<u2") * 60, 1, 16)) == [0, 19, 37, 60]
    assert "read as dark; --window LOW HIGH says otherwise" in caplog.text
    assert grey(tiff(tmp_path / "d.tif", deep * 0, 1, 16)) == [0, 0, 0, 0]


def test_colours_of_sixteen_bits_are_read_with_eight_and_said(tmp_path: Path, caplog: Any) -> None:
    three = np.repeat(RAMP, 3, axis=1)
    for path in (
        tiff(tmp_path / "a.tif", three.reshape(4, 4, 3).astype("<u2") * 257, 2, 16),
        png(tmp_path / "a.png", 16, 2, (three.astype(np.uint16) * 257).astype(">u2")),
    ):
        assert grey(path) == [0, 80, 160, 255]
        assert "has 16 bits a channel, of which the upper 8 are used" in caplog.text
        with pytest.raises(UnreadableError, match="too few for a window: save it as a uint16 array"):
            grey(path, window=(0, 4095))
    with pytest.raises(UnreadableError, match=r"16-bit colours, but none reaches a 16th of 65535"):
        grey(png(tmp_path / "b.png", 16, 2, (three.astype(np.uint16) * 16).astype(">u2")))


def test_pixels_of_32_bits_are_read_by_their_range_or_by_a_window(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert grey(tiff(path, (UNIT * 2 - 1).astype("<f4"), 1, 32, 3)) == [0, 80, 160, 255]
    for pixels, bits, kind, window in (
        (RAMP.astype("<u4"), 32, 1, (0, 255)),
        (RAMP.astype("<i2") * 10 - 1000, 16, 2, (-1000, 1550)),
        (RAMP.astype("<f4") * 3.7, 32, 3, (0, 943.5)),
    ):
        with pytest.raises(UnreadableError, match=rf"goes from {window[0]} to .*give --window"):
            grey(tiff(path, pixels, 1, bits, kind))
        assert grey(path, window=window) == [0, 80, 160, 255]
    with pytest.raises(UnreadableError, match=r"holds|has 1 values that are NaN"):
        grey(tiff(path, np.where(np.eye(4) * UNIT == 1, np.nan, UNIT).astype("<f4"), 1, 32, 3))
    with pytest.raises(UnreadableError, match="is a TIFF file of a kind that is not read"):
        grey(tiff(path, UNIT.astype("<f8"), 1, 64, 3))


def test_modes_of_colour_and_opacity_end_as_they_are_seen(tmp_path: Path) -> None:
    flipped = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 40)], -1)
    image = Image.fromarray(flipped)
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]  # pyright: ignore[reportArgumentType]
    lab = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert lab is not None
    image.convert("CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    image.convert("CMYK").save(tmp_path / "b.tif")
    image.convert("YCbCr").save(tmp_path / "c.tif")
    lab.save(tmp_path / "d.tif")
    for path in list_pictures(tmp_path):
        found = ((read_picture(path, (3, 4, 4)) + 1) * 127.5).permute(1, 2, 0)
        torch.testing.assert_close(found, torch.from_numpy(flipped).float(), atol=13, rtol=0)
    half = np.stack([RAMP // 2] * 3 + [np.full_like(RAMP, 128)], -1)
    assert grey(tiff(tmp_path / "e.tif", half, 2, 8, opacity=1)) == [127, 167, 207, 254]
    assert grey(tiff(tmp_path / "f.tif", half, 2, 8, opacity=2)) == [127, 147, 167, 191]
    clear = chunk(b"tRNS", struct.pack(">H", 80 * 257))
    assert grey(png(tmp_path / "g.png", 16, 0, (RAMP.astype(np.uint16) * 257).astype(">u2"), clear)) == [
        0,
        255,
        160,
        255,
    ]
    assert grey(png(tmp_path / "h.png", 1, 0, np.full((4, 1), 0x50, np.uint8))) == [0, 255, 0, 255]


def test_profiles_of_other_colours_are_said_and_broken_ones_harmless(tmp_path: Path, caplog: Any) -> None:
    image = Image.fromarray(np.stack([RAMP] * 3, -1))
    for name, said in (("sRGB", False), ("XYZ", True)):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # pyright: ignore
        image.save(tmp_path / "a.png", icc_profile=profile)
        assert grey(tmp_path / "a.png") == [0, 80, 160, 255]
        assert ("are read as sRGB" in caplog.text) == said
    image.save(tmp_path / "a.png", icc_profile=b"no profile")
    assert grey(tmp_path / "a.png") == [0, 80, 160, 255]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_every_orientation_is_applied_also_to_the_size(tmp_path: Path, suffix: str, tag: int) -> None:
    pixels = (np.arange(32, dtype=np.uint8).reshape(4, 8) * 8).repeat(8, 0).repeat(8, 1)
    seen = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.T, 6: pixels[::-1].T, 7: pixels[::-1, ::-1].T, 8: pixels.T[::-1],
    }[tag]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(pixels).convert("RGB" if suffix == "webp" else "L").save(
        tmp_path / f"a.{suffix}", exif=exif, quality=100, **({"lossless": True} if suffix == "webp" else {})
    )
    _, *size = picture_shape(tmp_path / f"a.{suffix}")
    assert tuple(size) == seen.shape
    found = (read_picture(tmp_path / f"a.{suffix}", (1, *seen.shape))[0] + 1) * 127.5
    torch.testing.assert_close(found, torch.from_numpy(seen.copy()).float(), atol=2.5, rtol=0)


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        (b"\0\0\0\x18ftypheic", "but HEIC: convert it to PNG"),
        (b"\0\0\0\x1cftypmif1", "but HEIC: convert it to PNG"),
        (b"\0\0\0\x20ftypavif", "but AVIF: convert it to PNG"),
        (b"GIF89a", "but GIF"),
        (b"BM", "but BMP"),
        (b"%PDF-1.7", "but PDF"),
        (b"<!DOCTYPE html>", "but text"),
        (bytes(128) + b"DICM", "but DICOM"),
        (b"version https://git-lfs.github.com", "fetch it with git lfs pull"),
        (b"\xff\xd8\xff", "is a JPEG file of a kind that is not read, or damaged"),
        (b"", "it is empty: replace it"),
    ],
)
def test_other_formats_are_named_whatever_the_suffix(tmp_path: Path, begin: bytes, what: str) -> None:
    path = tmp_path / "a.JPG"
    path.write_bytes(begin and begin.ljust(140, b"\1"))
    with pytest.raises(UnreadableError, match=what):
        read_picture(path, (1, 4, 4))
    assert what in named(path, ("PNG", "JPEG"))


def test_pictures_that_a_folder_leaves_out_are_said(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "a.HEIC").touch()
    with pytest.raises(UserError, match=r"holds no PNG, .* picture, but a\.HEIC: convert them"):
        list_pictures(tmp_path)
    Image.fromarray(RAMP).save(tmp_path / "b.PNG")
    assert [path.name for path in list_pictures(tmp_path)] == ["b.PNG"]
    assert "files of other formats were left out (1): a.HEIC" in caplog.text


def test_array_files_are_known_in_any_case_and_by_their_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 9, 9), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "b.NPY").write_bytes(content)
    assert len(open_dataset(tmp_path / "b.NPY")) == 2
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4)), tmp_path / "c.nii.gz")
    (tmp_path / "c.nii.gz").rename(tmp_path / "c.NII.GZ")
    assert len(open_dataset(tmp_path / "c.NII.GZ")) == 3
    for name, data, said in (
        ("d.npz", content, "is an .npy file by its content: rename it"),
        ("e.npy", b"PK\x03\x04", "is an .npz file by its content"),
        ("f.npy", b"\x89PNG", "is PNG by its content: rename it"),
        ("g.npy.gz", b"\x1f\x8b", "is packed: unpack it"),
        ("h.heic", b"", "it is HEIC, convert it to PNG"),
        ("i.png", b"\x89PNG", "but a picture: give the folder that holds it"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=said):
            open_dataset(tmp_path / name)


def test_pixels_of_0_and_1_are_asked_about_unless_they_may_be_noise(tmp_path: Path) -> None:
    Image.fromarray((RAMP > 100).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(
        UnreadableError, match=r"holds 0 and 1 only: give --window 0 1 .* if 1 is white, --window 0 255"
    ):
        read_picture(tmp_path / "a.png", (1, 4, 4))
    assert grey(tmp_path / "a.png", window=(0, 1)) == [0, 0, 255, 255]
    assert grey(tmp_path / "a.png", window=(0, 255)) == [0, 0, 1, 1]


def test_a_window_of_8_bits_is_theirs_and_another_one_not(tmp_path: Path, caplog: Any) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    assert grey(tmp_path / "a.png", window=(80, 160)) == [0, 0, 255, 255]
    assert grey(tmp_path / "a.png", window=(-1000, 400)) == [0, 80, 160, 255]
    assert "has 8-bit pixels, which cannot hold the window: read from 0 to 255" in caplog.text
