"""The shipped sets: whole, split without leaks, in the promised shapes and ranges."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch

from headwater.data import augment, load, shipped
from headwater.data.resize import area, vote
from headwater.gallery import FOLDERS

FOLDER = FOLDERS["data"]

STORED = {
    "digits": (1, 32, 32),
    "emoji": (3, 64, 64),
    "emoji-parts": (3, 64, 64),
    "brain": (1, 64, 64),
    "textures": (1, 64, 64),
    "photos": (3, 64, 64),
    "tiny": (1, 8, 8),
}


def test_manifest_lists_every_file_with_its_hash() -> None:
    listed = {name: about for entry in shipped.manifest().values() for name, about in entry["files"].items()}
    assert set(listed) == {path.name for path in FOLDER.glob("*.npz")}
    for name, about in listed.items():
        data = (FOLDER / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == about["sha256"], name


def test_all_sets_fit_in_twenty_megabytes_and_have_a_notice() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    notice = (FOLDER / "NOTICE.md").read_text()
    for path in FOLDER.glob("*.npz"):
        assert f"| {path.name} |" in notice
    for text in re.findall(r"licences/[\w.-]+\.txt", notice):
        assert (FOLDER / text).stat().st_size > 500, text


def test_no_shipped_file_needs_pickle() -> None:
    for path in FOLDER.glob("*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            assert all(not archive[name].dtype.hasobject for name in archive.files)


@pytest.mark.parametrize(
    ("name", "split"),
    [(n, s) for n in STORED for s in shipped.splits(n) if (n, s) != ("emoji", "train")],
)
def test_every_split_has_its_shape_and_range(name: str, split: str) -> None:
    found = load(name, split)
    assert found.images.dtype == torch.float32
    assert tuple(found.images.shape[1:]) == STORED[name]
    assert found.images.min() >= -1
    assert 0.2 < found.images.max() <= 1
    if found.labels is not None:
        assert found.labels.dtype == torch.int64
        assert len(found.labels) == len(found)
        assert int(found.labels.max()) < len(found.classes)
    if found.names is not None:
        assert len(found.names) == len(found)


def test_digits_split_is_stratified_and_disjoint() -> None:
    train, test = load("digits", "train"), load("digits", "test")
    assert torch.bincount(train.labels).tolist() == [400] * 10
    assert torch.bincount(test.labels).tolist() == [100] * 10
    assert not set(train.meta["id"].tolist()) & set(test.meta["id"].tolist())


def test_digits_are_padded_not_stretched() -> None:
    padded, raw = load("digits", "test"), load("digits", "test", 28)
    assert torch.equal(padded.images[..., 2:30, 2:30], raw.images)
    assert (padded.images[..., :2, :] == -1).all()


def test_emoji_parts_splits_share_no_base() -> None:
    bases = {split: set(load("emoji-parts", split, 8).meta["bases"]) for split in ("train", "pool", "test")}
    assert not bases["train"] & bases["pool"]
    assert not bases["train"] & bases["test"]
    assert not bases["pool"] & bases["test"]
    assert set(load("emoji-parts", "prior", 8).meta["bases"]) == bases["train"] | bases["pool"]


def test_emoji_splits_share_no_name_and_pair_the_styles() -> None:
    train, test = load("emoji", "train", 4), load("emoji", "test", 4)
    assert not set(train.names) & set(test.names)
    styles = [{n for n, k in zip(train.names, train.labels.tolist(), strict=True) if k == s} for s in (0, 1)]
    assert len(styles[0] & styles[1]) > 1300
    assert not any("skin tone" in name for name in train.names)


def test_photos_splits_share_no_photograph() -> None:
    assert not set(load("photos", "train", 8).names) & set(load("photos", "test", 8).names)


def test_texture_halves_do_not_overlap() -> None:
    corners = {split: load("textures", split, 32).meta["corners"][:, 1] for split in ("train", "test")}
    assert int(corners["train"].max()) + 32 <= 256 <= int(corners["test"].min())
    again = load("textures", "test", 32)
    assert torch.equal(again.images, load("textures", "test", 32).images)
    assert not torch.equal(again.images, load("textures", "test", 32, seed=1).images)


def test_brain_roles_are_heads() -> None:
    assert torch.equal(load("brain", "train", 32).images, load("brain", "mni", 32).images)
    assert torch.equal(load("brain", "test", 32).images, load("brain", "colin", 32).images)
    found = load("brain", "mni")
    assert (found.images[~found.meta["mask"][:, None]] < 0).all()
    assert ((found.labels > 0) == found.meta["mask"]).all()


def test_brain_is_upright() -> None:
    # Brains are wider behind the middle than in front, and nearly mirror-symmetric.
    found = load("brain", "mni")
    middle = found.meta["mask"][60].float()
    assert middle[:32].sum() < middle[32:].sum()
    assert (middle - middle.flip(1)).abs().mean() < 0.05 < (middle - middle.flip(0)).abs().mean() + 0.05


def test_small_pictures_are_area_averages_of_large_ones() -> None:
    large, small = load("emoji-parts", "test"), load("emoji-parts", "test", 32)
    averaged = large.images.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    torch.testing.assert_close(small.images, averaged)
    blocks = large.labels.unfold(1, 2, 2).unfold(2, 2, 2).reshape(*small.labels.shape, 4)
    counts = torch.stack([(blocks == k).sum(-1) for k in range(5)])
    won = counts.gather(0, small.labels[None])[0]
    assert torch.equal(won, counts.amax(0))


def test_part_maps_lie_on_their_pictures() -> None:
    found = load("emoji-parts", "test")
    brightness = found.images.mean(1)
    means = [float(brightness[found.labels == k].mean()) for k in range(5)]
    assert means[0] > 0.9
    assert means[4] < -0.4
    # Shifting the maps by two pixels must make the outline worse.
    assert float(brightness[found.labels.roll(2, 2) == 4].mean()) > means[4] + 0.2


def test_hue_rotation_is_fixed_by_the_picture_and_keeps_grey() -> None:
    plain = load("emoji-parts", "pool", 32)
    turned = load("emoji-parts", "pool", 32, hue_rotated=True)
    assert torch.equal(turned.images, load("emoji-parts-hue", "pool", 32).images)
    # The same picture keeps its angle when it is read as part of another split.
    prior = load("emoji-parts", "prior", 8, hue_rotated=True)
    angle = dict(zip(prior.meta["id"].tolist(), prior.meta["hue_degrees"].tolist(), strict=True))
    for key, degrees in zip(turned.meta["id"].tolist(), turned.meta["hue_degrees"].tolist(), strict=True):
        assert angle[key] == degrees
    assert turned.meta["hue_degrees"].min() < 60
    assert turned.meta["hue_degrees"].max() > 300
    grey = (plain.images.amax(1) - plain.images.amin(1)) == 0
    pixels = turned.images.permute(0, 2, 3, 1)[grey]
    assert torch.equal(pixels, plain.images.permute(0, 2, 3, 1)[grey])
    torch.testing.assert_close(turned.images.amax(1), plain.images.amax(1))
    assert (turned.images - plain.images).abs().mean() > 0.02


def test_hue_rotation_agrees_with_the_colour_wheel() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    for degrees, expected in ((120, [-1, 1, -1]), (240, [-1, -1, 1]), (60, [1, 1, -1]), (360, [1, -1, -1])):
        turned = augment.rotate_hue(red, torch.tensor([degrees]))
        torch.testing.assert_close(turned.flatten(), torch.tensor(expected).float())


def test_augmented_brain_is_a_function_of_the_seed() -> None:
    first = load("brain", "train", 32, augmented=120)
    assert len(first) == 120
    assert torch.equal(first.images, load("brain", "train", 32, augmented=120).images)
    assert torch.equal(first.images[:5], load("brain", "train", 32, augmented=5).images)
    assert not torch.equal(first.images[:5], load("brain", "train", 32, augmented=5, seed=1).images)
    # The corner is background and stays exactly black.
    assert (first.images[:, 0, 0, 0] == -1).all()
    assert first.images.abs().max() <= 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: load("mnist"), "no shipped set"),
        (lambda: load("digits", "valid"), "no split 'valid'"),
        (lambda: load("digits", "test", 64), "size <= 32"),
        (lambda: load("digits", "test", 0), "at least 1 pixel"),
        (lambda: load("textures", "test", 300), "256 pixels wide"),
        (lambda: load("digits", "test", hue_rotated=True), "no hue-rotated variant"),
        (lambda: load("digits", "test", augmented=3), "no augmentation"),
    ],
)
def test_wrong_requests_are_explained(call, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_damaged_file_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "tiny.npz").write_bytes((FOLDER / "tiny.npz").read_bytes()[:-1])
    shipped.manifest()
    monkeypatch.setitem(FOLDERS, "data", tmp_path)
    with pytest.raises(ValueError, match=r"tiny\.npz of the gallery is damaged"):
        load("tiny")


def test_select_keeps_rows_together() -> None:
    found = load("emoji-parts", "pool", 8)
    part = found.select(torch.tensor([3, 1]))
    assert part.names == [found.names[3], found.names[1]]
    assert torch.equal(part.labels[1], found.labels[1])
    assert torch.equal(part.meta["id"], found.meta["id"][[3, 1]])
    assert part.meta["bases"] == [found.meta["bases"][3], found.meta["bases"][1]]
    assert len(found.select(found.meta["id"] < 0)) == 0


def test_area_averaging_keeps_the_mean_at_any_ratio() -> None:
    images = torch.randn(2, 1, 7, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    small = area(images, 3, 4)
    torch.testing.assert_close(small.mean((-1, -2)), images.mean((-1, -2)))
    with pytest.raises(ValueError, match="only shrinks"):
        area(images, 8, 4)


def test_votes_go_to_the_majority_and_ties_to_the_larger_label() -> None:
    labels = torch.tensor([[0, 0, 1, 2], [0, 3, 2, 1]])
    assert vote(labels, 1, 2).tolist() == [[0, 2]]
