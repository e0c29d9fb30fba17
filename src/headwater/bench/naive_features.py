"""The naive way to classify pixels: every map resized to full size, joined, then classified.

What DDPM-Seg's reference does (Baranchuk et al. 2022), kept to measure against and to test against: time,
and D x H x W numbers of memory a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.nets.pixel_ensemble import PixelEnsemble


def feature_stack(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """All maps (B, C, h, w) bilinearly resized and joined: (B, D, *size)."""
    return torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps], 1)


@torch.no_grad()
def naive_logits(ensemble: PixelEnsemble, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Logits of every member, (members, B, classes, *size), from the stack, one member after the other."""
    stack = feature_stack(maps, size)
    rows = stack.permute(0, 2, 3, 1).flatten(0, 2)
    answers = [member_logits(ensemble, k, rows) for k in range(ensemble.members)]
    return torch.stack(answers).view(ensemble.members, len(stack), *size, -1).permute(0, 1, 4, 2, 3)


def member_logits(ensemble: PixelEnsemble, member: int, rows: Tensor) -> Tensor:
    """One member on feature vectors (P, D): linear, ReLU, batch norm and so on to (P, classes)."""

    def own(value: Tensor | None) -> Tensor:
        return cast(Tensor, value).view(ensemble.members, -1)[member]

    x = rows
    for layer, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        if layer:
            norm = cast(nn.BatchNorm1d, ensemble.norms[layer - 1])
            mean, variance = own(norm.running_mean), own(norm.running_var)
            x = F.batch_norm(F.relu(x), mean, variance, own(norm.weight), own(norm.bias), eps=norm.eps)
        x = torch.addmm(bias[member], x, weight[member])
    return x
