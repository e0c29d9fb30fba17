"""Inserted lesions and defects: repeatable, in place, and exactly marked."""

from __future__ import annotations

import pytest
import torch

from headwater.data import load
from headwater.data.lesions import defect, lesion


@pytest.fixture(scope="module")
def head():
    return load("brain", "colin", 48)


def test_lesions_repeat_and_differ_by_seed(head) -> None:
    image, inside = head.images[50], head.meta["mask"][50]
    first, again, other = (lesion(image, inside, seed) for seed in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.truth, again.truth)
    assert not torch.equal(first.image, other.image)


def test_lesions_stay_inside_the_brain_and_are_marked(head) -> None:
    for seed in range(60):
        row = seed % len(head)
        image, inside = head.images[row], head.meta["mask"][row]
        made = lesion(image, inside, seed)
        changed = (made.image - image)[0]
        assert made.truth.any()
        assert (made.truth & ~inside).sum() == 0
        assert (changed[~inside] == 0).all()
        assert made.image.abs().max() <= 1
        # Whatever is not marked changes by less than half the contrast.
        assert changed[~made.truth].abs().max() <= abs(made.contrast) / 2 + 1e-6


def test_lesion_size_and_sign_follow_the_request(head) -> None:
    image, inside = head.images[50], head.meta["mask"][50]
    areas = []
    for radius in (2.0, 4.0, 8.0):
        made = lesion(image, inside, 3, radius=radius, contrast=-0.5)
        areas.append(int(made.truth.sum()))
        assert (made.image - image).max() <= 0
        assert made.description == f"lesion, radius {radius:.1f} px, darker by 0.50"
    assert areas[0] < areas[1] < areas[2]
    assert 0.6 < areas[2] / (3.1416 * 64) < 1.5


def test_lesion_needs_a_brain(head) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        lesion(head.images[0], torch.zeros(48, 48, dtype=torch.bool), 0)


@pytest.mark.parametrize("kind", ["scratch", "blotch", "missing patch"])
def test_defects_repeat_and_are_marked(kind) -> None:
    image = load("textures", "test", 64).images[150]
    for seed in range(20):
        made = defect(image, seed, kind)
        assert torch.equal(made.image, defect(image, seed, kind).image)
        assert 4 <= int(made.truth.sum()) < 64 * 64 // 3
        changed = (made.image - image)[0].abs()
        assert changed[made.truth].mean() > 4 * changed[~made.truth].mean()
        assert made.kind == kind


def test_all_kinds_of_defects_occur_and_others_are_refused() -> None:
    image = torch.zeros(1, 32, 32)
    assert {defect(image, seed).kind for seed in range(30)} == {"scratch", "blotch", "missing patch"}
    with pytest.raises(ValueError, match="a defect is one of"):
        defect(image, 0, "dent")  # pyright: ignore[reportArgumentType]
