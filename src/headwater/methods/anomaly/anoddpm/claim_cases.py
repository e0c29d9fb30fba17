"""Pictures with inserted lesions and defects, and healthy ones: what anomaly detection is tested on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.data import load
from headwater.data.lesions import defect, lesion
from headwater.noise import derive

RADII = {"small": (0.04, 0.06), "large": (0.09, 0.13)}
"""Mean radii of lesions, as shares of the picture's width."""
CONTRASTS = (-0.8, -0.5, -0.3, 0.3, 0.5, 0.8)
_CHOOSE, _SCORE = 1, 2


@dataclass(frozen=True, eq=False)
class Cases:
    """Test pictures with their truth."""

    image: Tensor
    """(N, 1, H, W) in [-1, 1]."""
    truth: Tensor
    """(N, 1, H, W) bool, True where something was inserted."""
    group: tuple[str, ...]
    """What each picture holds: "large", "small", a kind of defect, or "healthy"."""
    place: Tensor
    """(N,) int64: height of a slice in mm, or class of a texture."""
    label: tuple[str, ...]
    """One line about each picture."""

    def rows(self, *groups: str) -> list[int]:
        """Indices of the pictures of some groups; of every changed picture if none is named."""
        return [i for i, g in enumerate(self.group) if (g in groups if groups else g != "healthy")]

    @staticmethod
    def join(parts: list[Cases]) -> Cases:
        """One after the other."""
        return Cases(
            torch.cat([p.image for p in parts]),
            torch.cat([p.truth for p in parts]),
            tuple(g for p in parts for g in p.group),
            torch.cat([p.place for p in parts]),
            tuple(n for p in parts for n in p.label),
        )


def brain_cases(per_group: int, seed: int, choosing: bool = False, side: int = 32) -> Cases:
    """`per_group` slices of the held-out head with large lesions, as many with small, as many untouched.

    choosing: take every fourth slice, on which levels are chosen, else the three between, on which results
        are scored. Sizes and contrasts take turns; slices, places and outlines follow from the seed.
    """
    found = load("brain", "colin", side)
    purpose = _CHOOSE if choosing else _SCORE
    slices = [i for i in range(len(found)) if (i % 4 == 0) == choosing]
    order = torch.randperm(len(slices), generator=torch.Generator().manual_seed(derive(seed, purpose)))
    images, truths, groups, places, labels = [], [], [], [], []
    for i in range(3 * per_group):
        row = slices[int(order[i % len(slices)])]
        image, group, turn = found.images[row], ("large", "small", "healthy")[i % 3], i // 3
        truth, what = torch.zeros(side, side, dtype=torch.bool), "healthy"
        if group in RADII:
            inserted = lesion(
                image,
                found.meta["mask"][row],
                derive(seed, purpose, i),
                radius=RADII[group][(turn + turn // 6) % 2] * side,
                contrast=CONTRASTS[turn % len(CONTRASTS)],
            )
            image, truth, what = inserted.image, inserted.truth, inserted.description
        images.append(image)
        truths.append(truth[None])
        groups.append(group)
        places.append(int(found.meta["z"][row]))
        labels.append(f"z = {places[-1]} mm, {what}")
    return Cases(torch.stack(images), torch.stack(truths), tuple(groups), torch.tensor(places), tuple(labels))


def texture_cases(per_group: int, seed: int, choosing: bool = False, side: int = 32) -> Cases:
    """`per_group` held-out crops with a blotch, as many with a scratch, a missing patch, and untouched.

    choosing: the first third of the test crops, on which levels are chosen, else the others.
    """
    found = load("textures", "test", side)
    purpose = _CHOOSE if choosing else _SCORE
    crops = [i for i in range(len(found)) if (i % 3 == 0) == choosing]
    order = torch.randperm(len(crops), generator=torch.Generator().manual_seed(derive(seed, purpose)))
    kinds = ("blotch", "scratch", "missing patch")
    images, truths, groups, places, labels = [], [], [], [], []
    for i in range(4 * per_group):
        row, kind = crops[int(order[i % len(crops)])], i % 4
        image, truth, what = found.images[row], torch.zeros(side, side, dtype=torch.bool), "healthy"
        if kind < 3:
            inserted = defect(image, derive(seed, purpose, i), kinds[kind])
            image, truth, what = inserted.image, inserted.truth, inserted.description
        images.append(image)
        truths.append(truth[None])
        groups.append(kinds[kind] if kind < 3 else "healthy")
        places.append(0 if found.labels is None else int(found.labels[row]))
        labels.append(f"{found.classes[places[-1]]}, {what}")
    return Cases(torch.stack(images), torch.stack(truths), tuple(groups), torch.tensor(places), tuple(labels))
