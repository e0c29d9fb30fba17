"""How alike a prior finds two pictures: a distance of learned features, in the place of LPIPS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.core.prediction import labels
from headwater.models.prior import Prior
from headwater.nets.features import Block, activations


@torch.no_grad()
def feature_distance(
    prior: Prior, image: Tensor, truth: Tensor, t: int = 50, blocks: Sequence[Block] = (2, 5)
) -> Tensor:
    """Mean squared distance (B,) of what a prior's network sees in pictures (B, C, H, W) from what it sees in
    their truth: the vector of features at every pixel, brought to length 1, averaged over pixels and blocks.

    t: timestep up to which both are noised, with one field of noise for all of them: a network that has only
    seen noisy pictures is asked about nothing else. blocks: see `activations`.
    """
    noise = prior.noise.stream([0])(image[:1])

    def seen(pictures: Tensor) -> list[Tensor]:
        x = prior.process.combine(pictures, noise.expand_as(pictures), t)
        told = labels(prior.process.label, t, x)
        return [F.normalize(v, dim=1) for v in activations(prior.network, x, told, blocks).values()]

    pairs = zip(seen(image), seen(truth), strict=True)
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]).mean(0)
