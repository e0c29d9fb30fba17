"""Masks and label maps in, pictures, masks and label maps out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headwater.cli.kinds import FAMILIES, Request
from headwater.data import UnreadableError, load, read_picture, save_labels, save_mask, save_picture
from headwater.data.label_maps import read_ids, read_labels
from headwater.data.masks import read_known, read_mask
from headwater.errors import UserError


def test_mask_round_trip(tmp_path: Path) -> None:
    mask = torch.rand(9, 7, generator=torch.Generator().manual_seed(0)) > 0.5
    save_mask(mask, tmp_path / "deep" / "mask.png")
    assert torch.equal(read_mask(tmp_path / "deep" / "mask.png"), mask)


def test_polarity_is_said_not_guessed(tmp_path: Path) -> None:
    mask = torch.tensor([[True, False], [True, True]])
    save_mask(mask, tmp_path / "m.png")
    assert torch.equal(read_known(tmp_path / "m.png", white="known"), mask)
    assert torch.equal(read_known(tmp_path / "m.png", white="hole"), ~mask)
    with pytest.raises(ValueError, match="'known' or 'hole'"):
        read_known(tmp_path / "m.png", white="yes")  # pyright: ignore[reportArgumentType]


def test_a_partly_missing_pixel_is_missing(tmp_path: Path) -> None:
    known = torch.ones(4, 4, dtype=torch.bool)
    known[0, 0] = False
    save_mask(known, tmp_path / "m.png")
    expected = [[False, True], [True, True]]
    assert read_known(tmp_path / "m.png", (2, 2), white="known").tolist() == expected
    assert read_mask(tmp_path / "m.png", (2, 2)).all()
    save_mask(~known, tmp_path / "h.png")
    assert read_known(tmp_path / "h.png", (2, 2), white="hole").tolist() == expected
    assert read_known(tmp_path / "h.png", (8, 8), white="hole").sum() == 60


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_masks_and_labels_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    Image.new("L", (8, 8)).save(path)
    for read in (read_mask, read_labels):
        with pytest.raises(UnreadableError, match=r"(masks|label maps) must be lossless: save as PNG"):
            read(path)


def test_jpeg_inside_a_tiff_is_refused(tmp_path: Path) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "m.tif", compression="jpeg")
    with pytest.raises(UnreadableError, match="lossless"):
        read_mask(tmp_path / "m.tif")


def test_missing_and_corrupt_masks_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist"):
        read_mask(tmp_path / "m.png")
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    with pytest.raises(UnreadableError, match=r"m\.png"):
        read_labels(tmp_path / "m.png")


def test_labels_are_palette_indices_not_colours(tmp_path: Path) -> None:
    labels = torch.tensor([[0, 1, 2], [4, 3, -1]])
    # Two classes share a colour, so that only the index can tell them apart.
    save_labels(labels, tmp_path / "l.png", palette=[(9, 9, 9), (9, 9, 9), (255, 0, 0)])
    with Image.open(tmp_path / "l.png") as image:
        assert image.mode == "P"
    assert torch.equal(read_labels(tmp_path / "l.png"), labels)
    Image.fromarray(np.array([[0, 7]], np.uint8)).save(tmp_path / "gray.png")
    assert read_labels(tmp_path / "gray.png").tolist() == [[0, 7]]
    Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "deep.png")
    assert read_labels(tmp_path / "deep.png").tolist() == [[0, 300]]


def test_labels_are_resized_by_vote_with_the_pictures_crop(tmp_path: Path) -> None:
    labels = torch.zeros(4, 8, dtype=torch.int64)
    labels[:, 4:] = 1
    labels[0, 2] = 3
    save_labels(labels, tmp_path / "l.png")
    assert read_labels(tmp_path / "l.png", (2, 2)).tolist() == [[0, 1], [0, 1]]
    assert read_labels(tmp_path / "l.png", (8, 8)).shape == (8, 8)


def test_bad_label_files_are_explained(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "rgb.png")
    with pytest.raises(UnreadableError, match="save an index-coloured PNG"):
        read_labels(tmp_path / "rgb.png")
    save_labels(torch.full((2, 2), 5), tmp_path / "l.png")
    with pytest.raises(UnreadableError, match="has label 5: use 0 to 4"):
        read_labels(tmp_path / "l.png", classes=5)


def test_picture_round_trip(tmp_path: Path) -> None:
    for channels in (1, 3):
        image = torch.rand(channels, 6, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
        save_picture(image, tmp_path / "p.png")
        again = read_picture(tmp_path / "p.png", (channels, 6, 5))
        torch.testing.assert_close(again, image, atol=1 / 255 + 1e-6, rtol=0)


def test_saving_leaves_no_halves_and_names_the_obstacle(tmp_path: Path) -> None:
    save_picture(torch.zeros(1, 4, 4), tmp_path / "p.png")
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*choose a folder"):
        save_picture(torch.zeros(1, 4, 4), tmp_path / "file" / "p.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="is a folder: give the path of a file"):
        save_picture(torch.zeros(1, 4, 4), tmp_path / "folder.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png", "p.png"]


def test_wrong_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a picture has shape"):
        save_picture(torch.zeros(2, 4, 4), tmp_path / "p.png")
    with pytest.raises(ValueError, match="a mask is bool"):
        save_mask(torch.zeros(4, 4), tmp_path / "p.png")
    with pytest.raises(ValueError, match="labels from -1 to 254"):
        save_labels(torch.full((4, 4), 255), tmp_path / "p.png")


def test_numbers_of_instances_are_read_as_they_are(tmp_path: Path) -> None:
    ids = np.array([[26001, 26001, 7, 255], [26001, 26001, 0, 255]], np.uint16)
    Image.fromarray(ids).save(tmp_path / "i.png")
    assert torch.equal(read_ids(tmp_path / "i.png"), torch.from_numpy(ids.astype(np.int64)))
    assert read_ids(tmp_path / "i.png", (4, 8))[:, ::2].tolist() == ids.repeat(2, 0).tolist()
    assert read_ids(tmp_path / "i.png", (1, 1)).tolist() == [[0]]  # the pixel under the middle of the square


def test_label_maps_of_a_shipped_set_are_those_of_its_pictures() -> None:
    found = FAMILIES["labels"].open(Request("labels", "emoji-parts:test", (3, 24, 24)))
    pictures = FAMILIES["images"].open(Request("image", "emoji-parts:test", (3, 24, 24)))
    truth = load("emoji-parts", "test", 24)
    assert found.names == pictures.names
    assert truth.labels is not None
    assert all(torch.equal(found[i], truth.labels[i]) for i in range(0, len(truth), 20))
    with pytest.raises(UserError, match="digits has no label maps"):
        FAMILIES["labels"].open(Request("labels", "digits"))
