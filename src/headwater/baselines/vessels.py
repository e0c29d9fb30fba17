"""What a segmentation of dark vessels without labels has to beat: Otsu's threshold and Frangi's filter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def otsu(values: Tensor, bins: int = 256) -> Tensor:
    """The threshold of each picture (B, C, H, W) that parts its values in two classes whose means differ
    most, weighed by their shares (Otsu 1979): (B,)."""
    found = list[Tensor]()
    for one in values.flatten(1):
        low, high = one.min(), one.max()
        counts = torch.histc(one, bins, float(low), float(high)).double()
        centres = low + (high - low) * (torch.arange(bins, device=one.device) + 0.5) / bins
        below, above = counts.cumsum(0), counts.sum() - counts.cumsum(0)
        total = (counts * centres).cumsum(0)
        gap = total / below.clamp(min=1) - (total[-1] - total) / above.clamp(min=1)
        found.append(centres[(below * above * gap.square()).argmax()] + (high - low) / (2 * bins))
    return torch.stack(found).to(values)


def frangi(image: Tensor, scales: Sequence[float] = (1, 2, 3), beta: float = 0.5) -> Tensor:
    """How much each pixel of pictures (B, 1, H, W) looks like a dark tube, from 0 to 1 (Frangi et al. 1998).

        exp(-(l1 / l2)^2 / 2 beta^2) (1 - exp(-(l1^2 + l2^2) / 2 c^2)),  0 where l2 <= 0

    l1, l2: eigenvalues of the Hessian at a scale in pixels, |l1| <= |l2|, times the scale squared; c: half
    the largest norm of the Hessian in the picture. The largest of all scales counts.
    """
    best = torch.zeros_like(image)
    for scale in scales:
        g = _derivatives(scale, image)
        down, across, both = (scale**2 * _filtered(image, g[i], g[2 - i]) for i in (2, 0, 1))
        mean, apart = (down + across) / 2, torch.hypot((down - across) / 2, both)
        one, other = mean - apart, mean + apart
        swap = one.abs() > other.abs()
        small, large = torch.where(swap, other, one), torch.where(swap, one, other)
        norm = small.square() + large.square()
        c = norm.sqrt().flatten(1).max(1).values.reshape(-1, 1, 1, 1) / 2
        tube = torch.exp(-(small / large).nan_to_num().square() / (2 * beta**2))
        strong = 1 - torch.exp(-norm / (2 * c.square()).clamp(min=1e-12))
        best = torch.maximum(best, torch.where(large > 0, tube * strong, 0))
    return best


def _derivatives(scale: float, like: Tensor) -> list[Tensor]:
    """A Gaussian and its first two derivatives, each (2 r + 1,)."""
    reach = int(4 * scale + 0.5)
    x = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    g = torch.exp(-x.square() / (2 * scale**2))
    g = g / g.sum()
    return [g, -x / scale**2 * g, (x.square() / scale**4 - 1 / scale**2) * g]


def _filtered(image: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Pictures filtered along columns and along rows, edges repeated."""
    reach = len(down) // 2
    padded = F.pad(image, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, down.flip(0).view(1, 1, -1, 1)), across.flip(0).view(1, 1, 1, -1))
