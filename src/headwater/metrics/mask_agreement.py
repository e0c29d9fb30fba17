"""Agreement of masks beyond overlap: instances, outlines at several tolerances, whole distributions.

Masks are bool (B, H, W) or (B, 1, H, W) unless said otherwise; results are float64 (B,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.metrics.segmentation import dice, mean_iou


def agreement(labels: Tensor, truth: Tensor, ignore: int = 255) -> dict[str, float]:
    """How well label maps int64 (B, H, W) agree; 0 is background.

    miou: the standard rule, pooled over pixels, background included. The others are means over pictures
    and foreground classes, a class counting in pictures where either map has it: dice, iou, boundary_f1
    (mean over tolerances 1 to 5), weighted_coverage, and wcov_area, which SegDiff's code calls by that name.
    Pixels whose truth is `ignore` count as background on both sides, for miou not at all.
    Raises ValueError when shapes differ.
    """
    if labels.shape != truth.shape:
        raise ValueError("Give prediction and truth label maps of one shape.")
    seen = truth != ignore
    labels, plain = labels * seen, truth * seen
    classes = max(2, int(torch.stack([labels.max(), plain.max()]).max()) + 1)
    pairs = [(labels == k, plain == k) for k in range(1, classes)]
    p, t = (torch.cat(side) for side in zip(*pairs, strict=True))
    there = (p | t).flatten(1).any(1)
    found = {"miou": mean_iou(labels, truth, max(classes, 2), ignore)}
    for name, measure in _MEASURES.items():
        value = measure(p[there], t[there]) if bool(there.any()) else torch.ones(1)
        found[name] = float(value.mean())
    return found


def jaccard(prediction: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of each pair; two empty masks agree: 1."""
    p, t = _pair(prediction, truth)
    both, either = (v.flatten(1).sum(1).double() for v in (p & t, p | t))
    return torch.where(either == 0, torch.ones_like(either), both / either)


def weighted_coverage(prediction: Tensor, truth: Tensor) -> Tensor:
    """How well connected regions of the prediction cover those of the truth, large ones counting more.

        WCov = sum_r |r| max_r' IoU(r, r') / sum_r |r|     r over regions of the truth, r' of the prediction

    (Silberman et al. 2014; Marcos et al. 2018 for buildings.) Regions touch along edges or corners. Two
    empty masks score 1, an empty truth against anything else 0. SegDiff's code reports `area_ratio` under
    this name.
    """
    p, t = _pair(prediction, truth)
    return torch.stack([_coverage(a, b) for a, b in zip(regions(p), regions(t), strict=True)])


def area_ratio(prediction: Tensor, truth: Tensor) -> Tensor:
    """Smaller area over larger: what SegDiff's code calls WCov. Disjoint masks of one size score 1."""
    p, t = (v.flatten(1).sum(1).double() for v in _pair(prediction, truth))
    larger = torch.maximum(p, t)
    return torch.where(larger == 0, torch.ones_like(larger), torch.minimum(p, t) / larger)


def boundary_f1_over_tolerances(prediction: Tensor, truth: Tensor, largest: int = 5) -> Tensor:
    """Mean over tolerances 1 .. `largest` pixels of the F1 score of outlines (FBound, Perazzi et al. 2016).

    Outlines lie between a pixel and its right, lower or lower right neighbour; a pixel is found when the
    other outline comes within the tolerance (a disc). One empty outline scores 0, two score 1.
    """
    p, t = (_between(v) for v in _pair(prediction, truth))
    scores = [_f1(p, t, radius) for radius in range(1, largest + 1)]
    return torch.stack(scores).mean(0)


def energy_distance(samples: Tensor, annotations: Tensor) -> Tensor:
    """Squared generalised energy distance between two sets of masks of one picture, a scalar tensor.

        2 E d(S, Y) - E d(S, S') - E d(Y, Y'),   d = 1 - IoU

    samples: bool (n, H, W); annotations: bool (m, H, W). All ordered pairs count, a mask with itself too
    (Kohl et al. 2018), so it is 0 for equal sets and at least 0 otherwise.
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        rows, columns = a.repeat_interleave(len(b), 0), b.repeat(len(a), 1, 1)
        return (1 - jaccard(rows, columns)).mean()

    return (
        2 * distance(samples, annotations) - distance(samples, samples) - distance(annotations, annotations)
    )


def regions(mask: Tensor) -> Tensor:
    """Connected regions (8 neighbours): int64 (B, H, W), 0 outside, one positive number per region."""
    b, height, width = mask.shape
    inside = mask.float()[:, None]
    # float64 holds every pixel's number exactly; each pass lets the largest number of a region spread.
    number = torch.arange(1, height * width + 1, device=mask.device).double()
    found = number.view(1, 1, height, width).expand(b, 1, height, width) * inside
    while True:
        spread = F.max_pool2d(found, 3, 1, 1) * inside
        if torch.equal(spread, found):
            return found[:, 0].long()
        found = spread


def _coverage(prediction: Tensor, truth: Tensor) -> Tensor:
    names, p = prediction.unique(return_inverse=True)
    wanted, t = truth.unique(return_inverse=True)
    counts = torch.zeros(len(wanted), len(names), dtype=torch.float64, device=truth.device)
    ones = torch.ones_like(t.flatten(), dtype=torch.float64)
    counts.index_put_((t.flatten(), p.flatten()), ones, accumulate=True)
    union = counts.sum(0, keepdim=True) + counts.sum(1, keepdim=True) - counts
    overlap = (counts / union)[:, names > 0][wanted > 0]
    area = counts.sum(1)[wanted > 0]
    if not len(area) or not overlap.shape[1]:
        return torch.tensor(float(len(area) == overlap.shape[1]), dtype=torch.float64)
    return (overlap.max(1).values * area).sum() / area.sum()


def _between(mask: Tensor) -> Tensor:
    """Pixels that differ from their right, lower or lower right neighbour; the last one never does."""
    padded = F.pad(mask[:, None].float(), (0, 1, 0, 1), mode="replicate")[:, 0] > 0.5
    here, right, below = padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1]
    return (here != right) | (here != below) | (here != padded[:, 1:, 1:])


def _f1(p: Tensor, t: Tensor, radius: int) -> Tensor:
    at = torch.arange(-radius, radius + 1, device=p.device)
    disc = (at[:, None] ** 2 + at[None] ** 2 <= radius**2).float()[None, None]

    def share(outline: Tensor, other: Tensor) -> Tensor:
        near = F.conv2d(other[:, None].float(), disc, padding=radius)[:, 0] > 0.5
        found = (outline & near).flatten(1).sum(1).double()
        return found / outline.flatten(1).sum(1).clamp(min=1)

    none_p, none_t = (~v.flatten(1).any(1) for v in (p, t))
    precision, recall = share(p, t), share(t, p)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-300)
    return torch.where(none_p & none_t, torch.ones_like(f1), f1)


def _pair(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if prediction.dtype != torch.bool or truth.dtype != torch.bool:
        raise ValueError("Give bool masks; compare scores with a threshold first.")
    if prediction.shape != truth.shape:
        raise ValueError("Give prediction and truth masks of one shape.")
    return prediction.reshape(-1, *prediction.shape[-2:]), truth.reshape(-1, *truth.shape[-2:])


_MEASURES = {
    "dice": dice,
    "iou": jaccard,
    "boundary_f1": boundary_f1_over_tolerances,
    "weighted_coverage": weighted_coverage,
    "wcov_area": area_ratio,
}
