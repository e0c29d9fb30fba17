"""`open_dataset`: one view of folders, array files, volumes and shipped sets."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from headwater.data import UnreadableError, conform, load, open_dataset
from headwater.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures of different sizes in two class folders."""
    rng = np.random.default_rng(0)
    for name, size in (("cat/1", (20, 30)), ("cat/2", (16, 16)), ("dog/1", (50, 20)), ("dog/2", (8, 9))):
        path = tmp_path / "pets" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pets"


def test_folder_gives_pictures_of_one_shape(folder: Path) -> None:
    found = open_dataset(folder, (3, 8, 8), labels="folders")
    assert len(found) == 4
    assert [found.name(i) for i in range(4)] == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]
    assert [found.label(i) for i in range(4)] == [0, 0, 1, 1]
    assert found.classes == ["cat", "dog"]
    batch = next(iter(DataLoader(found, batch_size=4)))
    assert batch.shape == (4, 3, 8, 8)
    assert batch.dtype == torch.float32


def test_folder_without_labels_has_none(folder: Path) -> None:
    assert open_dataset(folder, (1, 8, 8)).label(0) is None


def test_what_a_caller_does_to_a_picture_stays_with_the_caller(folder: Path) -> None:
    found = open_dataset(folder, (1, 8, 8))
    before = found[0].clone()
    found[0].zero_()
    assert torch.equal(found[0], before)


def test_indices_out_of_range_end_iteration(folder: Path) -> None:
    found = open_dataset(folder, (1, 8, 8))
    with pytest.raises(IndexError):
        found[4]
    assert torch.equal(found[-1], found[3])


def test_corrupt_picture_stops_or_is_listed(folder: Path) -> None:
    (folder / "cat" / "1a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    lazy = open_dataset(folder, (1, 8, 8))
    with pytest.raises(UnreadableError, match=r"1a\.png"):
        lazy[1]
    found = open_dataset(folder, (1, 8, 8), on_error="skip", labels="folders")
    assert len(found) == 4
    assert [skip.name for skip in found.skipped] == ["cat/1a.png"]
    assert "1a.png" in found.skipped[0].reason
    assert [found.name(i) for i in range(4)] == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]
    assert torch.equal(found[3], lazy[4])


def test_all_bad_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match="no readable picture, 1 were skipped"):
        open_dataset(tmp_path, (1, 8, 8), on_error="skip")


def test_npz_with_labels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.array([0, 1, 2, 1, 0]))
    found = open_dataset(tmp_path / "set.npz")
    assert found.shape == (1, 8, 8)
    assert [found.label(i) for i in range(5)] == [0, 1, 2, 1, 0]
    assert found.name(3) == "set-00003"
    assert open_dataset(tmp_path / "set.npz", (3, 4, 4), labels="none").label(0) is None
    assert open_dataset(tmp_path / "set.npz", (3, 4, 4))[0].shape == (3, 4, 4)


def test_npy_and_nifti(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 6, 6), np.uint8))
    assert open_dataset(tmp_path / "a.npy")[1].shape == (1, 6, 6)
    volume = np.random.default_rng(0).random((10, 12, 7)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "head.nii.gz")
    found = open_dataset(tmp_path / "head.nii.gz", (1, 8, 8))
    assert len(found) == 7
    assert found.name(2) == "head-00002"


def test_shipped_sets_by_name_and_split() -> None:
    found = open_dataset("tiny", (1, 8, 8))
    assert torch.equal(found[3], load("tiny", "train").images[3])
    assert found.label(3) == int(load("tiny", "train").labels[3])
    assert len(open_dataset("digits:test")) == 1000
    assert open_dataset("digits:test", (3, 16, 16))[0].shape == (3, 16, 16)
    assert open_dataset("emoji-parts-hue:pool", (3, 32, 32)).label(0) is None


def test_only_brain_is_augmented_and_only_in_training() -> None:
    heads, digits = open_dataset("brain", (1, 32, 32)), open_dataset("tiny")
    draws = [heads.draw(50, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(heads[50], load("brain", "train", 32).images[50])
    assert torch.equal(digits.draw(0, torch.Generator()), digits[0])


def test_a_folder_called_like_a_set_needs_a_path(folder: Path, monkeypatch) -> None:
    folder.rename(folder.parent / "tiny")
    monkeypatch.chdir(folder.parent)
    assert len(open_dataset("tiny")) > 1000
    assert len(open_dataset("./tiny", (1, 8, 8))) == 4


def test_wrong_requests_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    cases = [
        (lambda: open_dataset("nowhere"), "neither a folder nor a file nor a shipped set"),
        (lambda: open_dataset("digits:valid"), "no split 'valid'"),
        (lambda: open_dataset(folder), "say the shape"),
        (lambda: open_dataset(folder / "cat" / "1.png"), "is no source of pictures"),
        (lambda: open_dataset(folder / "cat", (1, 4, 4), labels="folders"), "in no class folder"),
    ]
    np.savez(tmp_path / "x.npz", pictures=np.zeros((1, 2, 2)))
    cases.append((lambda: open_dataset(tmp_path / "x.npz"), "name the array of pictures images"))
    for call, sentence in cases:
        with pytest.raises(UserError, match=sentence) as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="'stop' or 'skip'"):
        open_dataset(folder, (1, 8, 8), on_error="ignore")  # pyright: ignore[reportArgumentType]


def test_conform_follows_the_rules_of_folders(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    from_folder = open_dataset(tmp_path, (3, 6, 6))[0]
    torch.testing.assert_close(conform(whole, (3, 6, 6))[0], from_folder, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="3 channels were given where 2 are wanted"):
        conform(whole, (2, 6, 6))
