"""Brain slices with soft lesions, each outlined by four annotators who disagree where the lesion ends.

A lesion fades into the brain; each annotator ends it where its weight falls below a threshold of his own. So
the masks of one picture lie inside one another, and how far they differ is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwater.data.lesions import lesion
from headwater.data.shipped import load
from headwater.noise import derive

THRESHOLDS = (0.2, 0.4, 0.6, 0.8)
"""Of the annotators, from the most generous one on."""
RADII = (0.11, 0.14, 0.17)
"""Mean radii of lesions, as shares of the picture's width."""
CONTRASTS = (0.4, 0.6, 0.8)
"""Brightness added in the middle of a lesion, on the scale of [-1, 1]."""
SOFTNESS = 0.5
"""Width of the rim, as a share of the radius."""
APART = 4
"""Every so many slices of a head one is for choosing, the others for learning."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """Pictures with several masks each, all of them right."""

    image: Tensor
    """(N, 1, H, W) in [-1, 1]."""
    masks: Tensor
    """bool (N, annotators, H, W)."""

    def __len__(self) -> int:
        return len(self.image)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Each picture once for each annotator, with that one's mask: what `fit` takes."""
        return self.image.repeat_interleave(self.masks.shape[1], 0), self.masks.flatten(0, 1).long()

    @property
    def majority(self) -> Tensor:
        """bool (N, H, W): where more than half of the annotators see a lesion."""
        return self.masks.float().mean(1) > 0.5

    @property
    def settled(self) -> Tensor:
        """bool (N, H, W): where there is a majority, for a lesion or for none."""
        return self.masks.float().mean(1) != 0.5

    @property
    def variance(self) -> Tensor:
        """float32 (N, H, W): how far the annotators disagree, n - 1 in the denominator."""
        return self.masks.float().var(1)


def annotated(
    head: Literal["mni", "colin"], count: int, side: int, seed: int, part: Literal["all", "learn", "choose"]
) -> Annotated:
    """`count` slices of a head with one lesion each, slices in turn at even places.

    part: all slices, or of every four the three for learning, or the one for choosing. Places, outlines,
    sizes and contrasts follow from the seed.
    """
    found = load("brain", head, side)
    rows = [i for i in range(len(found)) if part == "all" or (i % APART == 0) == (part == "choose")]
    kinds = [(radius * side, contrast) for radius in RADII for contrast in CONTRASTS]
    limits, images, masks = torch.tensor(THRESHOLDS)[:, None, None], [], []
    for k in range(count):
        row = rows[k * len(rows) // count if count <= len(rows) else k % len(rows)]
        draws = torch.Generator().manual_seed(derive(seed, 1, k))
        radius, contrast = kinds[int(torch.randint(len(kinds), (), generator=draws))]
        made = lesion(
            found.images[row], found.meta["mask"][row], derive(seed, 2, k),
            radius=radius, contrast=contrast, softness=SOFTNESS * radius,
        )  # fmt: skip
        assert made.weight is not None
        images.append(made.image)
        masks.append(made.weight >= limits)
    return Annotated(torch.stack(images), torch.stack(masks))
