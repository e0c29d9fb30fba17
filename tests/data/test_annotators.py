"""Four annotators: their masks lie inside one another, and what is for learning is not judged."""

from __future__ import annotations

import torch

from headwater.data import load
from headwater.data.annotators import APART, THRESHOLDS, annotated


def test_masks_lie_inside_one_another_and_say_where_annotators_differ() -> None:
    found = annotated("mni", 12, 24, 0, "learn")
    assert found.masks.shape == (12, len(THRESHOLDS), 24, 24)
    assert bool((found.masks[:, :-1] | ~found.masks[:, 1:]).all())
    areas = found.masks.flatten(2).sum(2)
    assert bool((areas[:, 0] > areas[:, -1]).all())
    seen = found.masks.sum(1)
    assert torch.equal(found.majority, seen >= 3)
    assert torch.equal(found.settled, seen != 2)
    # One of four: mean 1/4, squares 3/16, and n - 1 in the denominator.
    expected = torch.tensor([0.0, 1 / 4, 1 / 3, 1 / 4, 0.0])[seen]
    torch.testing.assert_close(found.variance, expected)
    image, masks = found.pairs()
    assert torch.equal(image[4:8], found.image[1:2].expand(4, -1, -1, -1))
    assert torch.equal(masks[4:8] > 0, found.masks[1])


def test_lesions_follow_the_seed_and_slices_for_choosing_are_learned_from_by_nobody() -> None:
    again, other = (annotated("mni", 4, 24, seed, "learn") for seed in (0, 1))
    assert torch.equal(again.image, annotated("mni", 4, 24, 0, "learn").image)
    assert not torch.equal(again.masks, other.masks)
    head = load("brain", "mni", 24).images
    used = {}
    for part in ("learn", "choose"):
        made = annotated("mni", len(head), 24, 0, part)
        # The slice that agrees best outside the lesion is the one that it was put into.
        pairs = zip(made.image, made.masks[:, 0], strict=True)
        gaps = torch.stack([((image - head).abs() * ~mask).flatten(1).sum(1) for image, mask in pairs])
        used[part] = set(gaps.argmin(1).tolist())
    assert not used["learn"] & used["choose"]
    assert all(row % APART == 0 for row in used["choose"])
