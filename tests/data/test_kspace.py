"""k-space and magnitude pictures: slices are read one by one, upright, and never without a check."""

from __future__ import annotations

import h5py
import nibabel
import numpy as np
import pytest
import torch

from headwater.data.arrays import axial_slices
from headwater.data.kspace import open_kspace, open_magnitude
from headwater.data.nifti import read_volume
from headwater.data.pictures import Limits, UnreadableError


def test_slices_of_fastmri_files(tmp_path):
    k = (np.random.default_rng(0).standard_normal((3, 2, 4, 5)) * (1 + 1j)).astype(np.complex64)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["kspace"] = k
    with h5py.File(tmp_path / "single.hdf5", "w") as file:
        file["kspace"] = k[:, 0]
    found = open_kspace(tmp_path)
    assert found.names == [f"{stem}-{i:05d}" for stem in ("many", "single") for i in range(3)]
    assert torch.equal(found[1], torch.from_numpy(k[1]))
    assert torch.equal(found[5], torch.from_numpy(k[2, 0]))
    with pytest.raises(UnreadableError, match="over the limit"):
        open_kspace(tmp_path / "many.h5", Limits(array_bytes=100))[0]


def test_magnitudes_keep_their_units_and_lie_as_pictures_of_volumes_do(tmp_path):
    volume = (1000 * np.random.default_rng(0).random((5, 4, 3))).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "head.nii.gz")
    found = open_magnitude(tmp_path / "head.nii.gz")
    assert found.names == ["head-00000", "head-00001", "head-00002"]
    assert float(found[2].max()) == volume[..., 2].max()
    picture = axial_slices(read_volume(tmp_path / "head.nii.gz").values)[2, 0]
    dim = found[2] <= np.quantile(volume, 0.99)
    torch.testing.assert_close(picture[dim], (found[2] / np.quantile(volume, 0.995) * 2 - 1)[dim])
    np.save(tmp_path / "stack.npy", volume)
    assert torch.equal(open_magnitude(tmp_path / "stack.npy")[4], torch.from_numpy(volume[4]))
    assert open_magnitude(tmp_path).names[3:] == [f"stack-{i:05d}" for i in range(5)]


def test_a_dataset_of_another_name_or_type_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.zeros((2, 4, 4))
        file.create_group("reconstruction_rss")
    with pytest.raises(UnreadableError, match="not complex"):
        open_kspace(tmp_path / "a.h5")[0]
    with pytest.raises(UnreadableError, match="must be called magnitude or"):
        open_magnitude(tmp_path / "a.h5")[0]
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UnreadableError, match="holds object"):
        open_kspace(tmp_path / "o.npy")[0]


def test_an_archive_holds_one_array_or_says_which(tmp_path):
    maps = (np.random.default_rng(0).standard_normal((3, 4, 5)) * (1 - 2j)).astype(np.complex64)
    np.savez(tmp_path / "one.npz", anything=maps)
    np.savez_compressed(tmp_path / "two.npz", maps=2 * maps, mask=np.ones(3))
    found = open_kspace(tmp_path)
    assert found.names == ["one", "two"]
    assert torch.equal(found[0], torch.from_numpy(maps))
    assert torch.equal(found[1], torch.from_numpy(2 * maps))
    np.savez(tmp_path / "bad.npz", a=maps, b=maps)
    with pytest.raises(UnreadableError, match="the arrays a, b: give a file with one array"):
        open_kspace(tmp_path / "bad.npz")[0]
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(UnreadableError, match="holds no array"):
        open_kspace(tmp_path / "empty.npz")[0]
