"""Arrays and volumes: numbers only, headers checked first, bad files named."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from headwater.data import Limits, UnreadableError
from headwater.data.arrays import axial_slices, picture_stack, read_npy, read_npz
from headwater.data.nifti import read_volume


def lying_npy(shape: tuple[int, ...]) -> bytes:
    """A header that promises far more than the eight bytes that follow."""
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + b"\0" * 8


def test_arrays_round_trip(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(read_npy(tmp_path / "a.npy"), array)
    np.savez_compressed(tmp_path / "a.npz", images=array, labels=np.arange(3))
    assert set(read_npz(tmp_path / "a.npz")) == {"images", "labels"}


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableError, match=r"a\.npy holds object, not numbers"):
        read_npy(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UnreadableError, match="holds object, not numbers"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(("shape", "reason"), [((10**9, 10**3), "over the limit"), ((10**8,), "cut short")])
def test_lying_headers_allocate_nothing(tmp_path: Path, shape, reason: str) -> None:
    (tmp_path / "a.npy").write_bytes(lying_npy(shape))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", lying_npy(shape))
    tracemalloc.start()
    with pytest.raises(UnreadableError, match=reason):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(UnreadableError, match=reason):
        read_npz(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_zip_bombs_are_refused_by_their_unpacked_size(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((1000, 1000)))
    assert (tmp_path / "a.npz").stat().st_size < 50_000
    with pytest.raises(UnreadableError, match="unpacks to more than"):
        read_npz(tmp_path / "a.npz", Limits(array_bytes=1_000_000))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x09\x00rest", b"PK\x03\x04broken"])
def test_garbage_is_named(tmp_path: Path, content: bytes) -> None:
    for name, read in (
        ("a.npy", read_npy),
        ("a.npz", read_npz),
        ("a.nii", read_volume),
        ("a.nii.gz", read_volume),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError, match=name.replace(".", r"\.")):
            read(tmp_path / name)


def test_missing_files_and_empty_archives_are_named(tmp_path: Path) -> None:
    for read in (read_npy, read_npz, read_volume):
        with pytest.raises(UnreadableError, match="does not exist"):
            read(tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with pytest.raises(UnreadableError, match="holds no array"):
        read_npz(tmp_path / "a.npz")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.arange(1000.0))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[2000] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UnreadableError, match=r"a\.npz is corrupt"):
        read_npz(tmp_path / "a.npz")


def test_picture_stacks_of_every_layout_and_type() -> None:
    gray = np.array([[[0, 255]]], np.uint8)
    assert picture_stack(gray, "x").tolist() == [[[[-1.0, 1.0]]]]
    assert picture_stack(np.zeros((2, 5, 4, 3), np.uint8), "x").shape == (2, 3, 5, 4)
    assert picture_stack(np.zeros((2, 3, 5, 4), np.uint8), "x").shape == (2, 3, 5, 4)
    assert picture_stack(gray.astype(bool), "x").flatten().tolist() == [-1, 1]
    assert picture_stack(gray.astype(np.uint16) * 257, "x").flatten().tolist() == [-1, 1]
    assert picture_stack(gray / 255.0, "x").flatten().tolist() == [-1, 1]
    assert picture_stack(gray / 127.5 - 1, "x").flatten().tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros(4), "use \\(N, H, W\\)"),
        (np.zeros((0, 4, 4)), "use \\(N, H, W\\)"),
        (np.zeros((2, 5, 4, 5)), "use \\(N, H, W\\)"),
        (np.zeros((2, 4, 4), np.complex64), "use uint8 or float32"),
        (np.full((1, 2, 2), 7.0), "give --window 0 255"),
        (np.full((1, 2, 2), np.nan), "4 values that are NaN"),
    ],
)
def test_other_arrays_are_explained(array: np.ndarray, sentence: str) -> None:
    with pytest.raises(UnreadableError, match=sentence):
        picture_stack(array, "x")


def test_volume_is_turned_to_canonical_axes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    flipped = np.diag([-1.0, 1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(data[::-1], flipped), tmp_path / "b.nii")
    assert torch.equal(read_volume(tmp_path / "a.nii.gz").values, torch.from_numpy(data))
    assert torch.equal(read_volume(tmp_path / "b.nii").values, torch.from_numpy(data))
    slices = axial_slices(torch.from_numpy(data))
    assert slices.shape == (6, 1, 5, 4)
    assert slices.abs().max() <= 1
    # Anterior (large y) is at the top, right (large x) at the right.
    corner = torch.zeros(4, 5, 6)
    corner[3, 4, 0] = 1
    assert axial_slices(corner)[0, 0, 0, 3] == 1


def test_bad_volumes_are_explained(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2), np.float32), np.eye(4)), tmp_path / "4d.nii")
    with pytest.raises(UnreadableError, match="one volume a file"):
        read_volume(tmp_path / "4d.nii")
    nibabel.save(nibabel.Nifti1Image(np.full((3, 3, 3), np.nan, np.float32), np.eye(4)), tmp_path / "nan.nii")
    with pytest.raises(UnreadableError, match="not finite"):
        read_volume(tmp_path / "nan.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((30, 30, 30), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(UnreadableError, match="over the limit"):
        read_volume(tmp_path / "a.nii", Limits(array_bytes=150_000))
    whole = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableError, match=r"cut\.nii is cut short"):
        read_volume(tmp_path / "cut.nii")
