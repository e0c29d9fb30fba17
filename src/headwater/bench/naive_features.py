"""The naive way to classify pixels: every map resized to full size, joined, then classified.

What DDPM-Seg's reference does (Baranchuk et al. 2022), kept to measure against and to test against: time,
and D x H x W numbers of memory a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.methods.segmentation.pixel_classifier import PixelEnsemble


def feature_stack(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """All maps (B, C, h, w) bilinearly resized and joined: (B, D, *size)."""
    return torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps], 1)


@torch.no_grad()
def naive_logits(ensemble: PixelEnsemble, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Logits of every member, (members, B, classes, *size), one member after the other on the stack."""
    rows = feature_stack(maps, size).permute(0, 2, 3, 1).flatten(0, 2)
    answers = [_member(ensemble, k, rows) for k in range(ensemble.members)]
    stacked = torch.stack(answers).view(ensemble.members, len(maps[0]), *size, ensemble.classes)
    return stacked.permute(0, 1, 4, 2, 3)


def _member(ensemble: PixelEnsemble, k: int, x: Tensor) -> Tensor:
    """One member on rows of features (pixels, D): linear, then ReLU, batch norm and linear twice."""
    x = x @ ensemble.weights[0][k] + ensemble.biases[0][k]
    for weight, bias, norm in zip(ensemble.weights[1:], ensemble.biases[1:], ensemble.norms, strict=True):
        parts = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        mean, variance, scale, shift = (cast(Tensor, v).view(ensemble.members, -1)[k] for v in parts)
        x = F.batch_norm(F.relu(x), mean, variance, scale, shift) @ weight[k] + bias[k]
    return x
