"""Pictures with label maps that claims about few labels are tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from headwater.data import Set, load

Pair = tuple[Tensor, Tensor]
"""Images and their label maps."""
DIGITS, EMOJI = "digits", "emoji-parts"


@dataclass(frozen=True, eq=False)
class Task:
    """Pictures with label maps: what may be labelled, and what is scored."""

    pool: Set
    test: Set
    kinds: Tensor | None
    """Of each picture of the pool, where as many of each kind are labelled, (N,)."""

    @classmethod
    def of(cls, name: str, side: int) -> Task:
        """That of digits or of the parts of emoji."""
        if name == EMOJI:
            pool, test = (load("emoji-parts-hue", split, side) for split in ("pool", "test"))
            return cls(pool, test, None)
        pool, test = (load("digits", split, side) for split in ("train", "test"))
        return cls(strokes(pool), strokes(test), pool.labels)

    def draw(self, labelled: int, judged: int, seed: int) -> tuple[Set, Set]:
        """The labelled pictures of a seed, and other pool pictures to judge blocks and steps on."""
        order = torch.randperm(len(self.pool), generator=torch.Generator().manual_seed(seed))
        learn = order[:labelled]
        if self.kinds is not None:
            each = max(1, labelled // int(self.kinds.max() + 1))
            kinds = self.kinds[order]
            learn = torch.cat([order[kinds == k][:each] for k in kinds.unique()])[:labelled]
        rest = order[~torch.isin(order, learn)]
        return self.pool.select(learn), self.pool.select(rest[:judged])


def strokes(digits: Set) -> Set:
    """With label maps for its classes: 0 where a picture is darker than half grey, else 1 + its digit."""
    maps = torch.where(digits.images[:, 0] > 0, 1 + cast(Tensor, digits.labels)[:, None, None], 0)
    return replace(digits, labels=maps, classes=["background", *digits.classes])


def pair(found: Set) -> Pair:
    """The pictures of a set with their label maps."""
    return found.images, cast(Tensor, found.labels)
