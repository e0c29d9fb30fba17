"""Test sets of anomaly detection: pictures with inserted lesions or defects, and healthy ones among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.data.lesions import Inserted, defect, lesion
from headwater.data.shipped import Set, load
from headwater.noise import derive

RADII = {"small": (0.04, 0.06), "large": (0.09, 0.13)}
"""Mean radii of lesions, as shares of the picture's width."""
CONTRASTS = (-0.8, -0.5, -0.3, 0.3, 0.5, 0.8)
DEFECTS = ("blotch", "scratch", "missing patch")


@dataclass(frozen=True, eq=False)
class Cases:
    """Test pictures with their truth."""

    image: Tensor
    """(N, 1, H, W) in [-1, 1]."""
    truth: Tensor
    """(N, 1, H, W) bool, True where something was inserted."""
    group: list[str]
    """What each picture holds: "large", "small", a kind of defect, or "healthy"."""
    row: Tensor
    """(N,) int64: which picture of the set it is."""
    label: list[str]
    """One line about each picture."""

    def rows(self, *groups: str) -> list[int]:
        """Indices of the pictures of some groups; of every changed picture if none is named."""
        return [i for i, g in enumerate(self.group) if (g in groups if groups else g != "healthy")]


def brain_cases(per_group: int, seed: int, choosing: bool = False, side: int = 32) -> Cases:
    """`per_group` slices of the held-out head with large lesions, as many with small, as many untouched.

    choosing: take every fourth slice, on which levels are chosen, else the three between, on which results
        are scored. Sizes and contrasts take turns; slices, places and outlines follow from the seed.
    """
    head = load("brain", "colin", side)

    def change(row: int, group: str, turn: int, key: int) -> Inserted:
        radius, contrast = RADII[group][(turn + turn // 6) % 2] * side, CONTRASTS[turn % len(CONTRASTS)]
        return lesion(head.images[row], head.meta["mask"][row], key, radius=radius, contrast=contrast)

    places = [f"z = {int(z)} mm" for z in head.meta["z"]]
    return _cases(head, ("large", "small", "healthy"), per_group, seed, choosing, 4, change, places)


def texture_cases(per_group: int, seed: int, choosing: bool = False, side: int = 32) -> Cases:
    """`per_group` held-out crops with a blotch, as many with a scratch, a missing patch, and untouched.

    choosing: the first third of the test crops, on which levels are chosen, else the others.
    """
    crops = load("textures", "test", side)

    def change(row: int, group: str, turn: int, key: int) -> Inserted:
        return defect(crops.images[row], key, group)  # pyright: ignore[reportArgumentType]

    places = [crops.classes[0 if crops.labels is None else int(crops.labels[i])] for i in range(len(crops))]
    return _cases(crops, (*DEFECTS, "healthy"), per_group, seed, choosing, 3, change, places)


def _cases(
    found: Set, groups: tuple[str, ...], per_group: int, seed: int, choosing: bool, every: int,
    change: Callable[[int, str, int, int], Inserted], places: list[str],
) -> Cases:  # fmt: skip
    """Groups take turns over the rows in random order; `change` gets row, group, turn and a seed."""
    purpose = 1 if choosing else 2
    rows = [i for i in range(len(found)) if (i % every == 0) == choosing]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(derive(seed, purpose)))
    taken = [rows[int(order[i % len(rows)])] for i in range(len(groups) * per_group)]
    images, truths, labels = [], [], []
    for i, row in enumerate(taken):
        image, group, turn = found.images[row], groups[i % len(groups)], i // len(groups)
        truth, what = torch.zeros(image.shape[-2:], dtype=torch.bool), "healthy"
        if group != "healthy":
            inserted = change(row, group, turn, derive(seed, purpose, i))
            image, truth, what = inserted.image, inserted.truth, inserted.description
        images.append(image)
        truths.append(truth[None])
        labels.append(f"{places[row]}, {what}")
    return Cases(torch.stack(images), torch.stack(truths), [*groups] * per_group, torch.tensor(taken), labels)
