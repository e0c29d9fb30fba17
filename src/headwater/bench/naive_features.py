"""The naive way to classify pixels: every map resized to full size, joined, then classified.

What DDPM-Seg's reference does (Baranchuk et al. 2022), kept to measure against and to test against: time,
and D x H x W numbers of memory a picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.methods.segmentation.pixel_classifier import PixelEnsemble


def feature_stack(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """All maps (B, C, h, w) bilinearly resized and joined: (B, D, *size)."""
    return torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps], 1)


@torch.no_grad()
def naive_logits(ensemble: PixelEnsemble, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Logits of every member, (members, B, classes, *size), from the stack."""
    stack = feature_stack(maps, size)
    rows = stack.permute(0, 2, 3, 1).flatten(0, 2)
    answer = ensemble(rows.expand(ensemble.members, -1, -1))
    return answer.view(ensemble.members, len(stack), *size, -1).permute(0, 1, 4, 2, 3)
