"""Agreement of label maps and of masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def confusion(prediction: Tensor, truth: Tensor, classes: int, ignore: int | None = None) -> Tensor:
    """Pixel counts (classes, classes) int64: row = true class, column = predicted class.

    Both label maps are integers of one shape. Pixels whose true label is `ignore` are left out.
    Raises ValueError for other labels outside 0..classes-1.
    """
    if prediction.shape != truth.shape:
        raise ValueError("Give prediction and truth label maps of one shape.")
    p, t = prediction.flatten().long(), truth.flatten().long()
    if ignore is not None:
        p, t = p[t != ignore], t[t != ignore]
    if p.numel() and not (min(p.min(), t.min()) >= 0 and max(p.max(), t.max()) < classes):
        raise ValueError(f"Give labels from 0 to {classes - 1}, or name the ignored one.")
    return torch.bincount(t * classes + p, minlength=classes**2).view(classes, classes)


def iou(counts: Tensor) -> Tensor:
    """Intersection over union (classes,) of a confusion matrix; NaN for a class nowhere seen."""
    hit = counts.diagonal().double()
    return hit / (counts.sum(0) + counts.sum(1) - hit)


def scores(counts: Tensor, eps: float = 0.0) -> dict[str, Tensor]:
    """What a matrix of `confusion` says: precision, recall, f1 and iou of each class (classes,), and the
    accuracy, a scalar; 0 where nothing was there to be right about. eps is added to every denominator.
    """
    hit, counts = counts.diagonal().double(), counts.double()

    def share(part: Tensor, whole: Tensor) -> Tensor:
        return torch.where(whole + eps > 0, part / (whole + eps), 0.0)

    precision, recall = share(hit, counts.sum(0)), share(hit, counts.sum(1))
    return {
        "precision": precision,
        "recall": recall,
        "f1": share(2 * precision * recall, precision + recall),
        "iou": share(hit, counts.sum(0) + counts.sum(1) - hit),
        "accuracy": share(hit.sum(), counts.sum()),
    }


def mean_iou(prediction: Tensor, truth: Tensor, classes: int, ignore: int | None = None) -> float:
    """Mean intersection over union, the standard rule.

    Counts are pooled over all pixels given; ignored pixels are left out; classes that occur neither
    in the truth nor in the prediction do not enter the mean.
    """
    return float(iou(confusion(prediction, truth, classes, ignore)).nanmean())


def mean_iou_ddpm_seg(prediction: Tensor, truth: Tensor, classes: int, ignore: int) -> float:
    """Mean intersection over union as the DDPM-segmentation reference counts it.

    Differs from `mean_iou` in two ways (Baranchuk et al. 2022, their evaluation code): pixels whose
    true label is `ignore` stay in as false positives of the class predicted there, and a class that
    occurs nowhere counts as 0. For comparison with published numbers only.
    """
    scores = []
    for label in range(classes):
        if label != ignore:
            p, t = prediction == label, truth == label
            scores.append(float((p & t).sum()) / (float((p | t).sum()) + 1e-8))
    return sum(scores) / len(scores)


def dice(prediction: Tensor, truth: Tensor, smooth: float = 0.0) -> Tensor:
    """Dice overlap (B,) of bool masks (B,...): (2 |P and T| + smooth) / (|P| + |T| + smooth).

    Two empty masks agree: 1. AnoDDPM's reference uses smooth = 1e-6.
    """
    p, t = _masks(prediction, truth)
    both = 2 * (p & t).sum(1).double() + smooth
    total = p.sum(1).double() + t.sum(1).double() + smooth
    return torch.where(total == 0, torch.ones_like(total), both / total)


def boundary_f1(prediction: Tensor, truth: Tensor, tolerance: float = 1.5) -> Tensor:
    """F1 score (B,) of the outlines of bool masks (B,H,W) or (B,1,H,W).

    An outline pixel is right if the other outline has a pixel within `tolerance` pixels (Euclidean;
    Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?"). Two empty
    masks score 1, one empty mask scores 0.
    """
    p, t = (_outline(m.view(-1, 1, *m.shape[-2:])) for m in (prediction, truth))
    precision = _share(p, _widened(t, tolerance))
    recall = _share(t, _widened(p, tolerance))
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    empty = ~(p.flatten(1).any(1) | t.flatten(1).any(1))
    return torch.where(empty, torch.ones_like(f1), f1)


def _masks(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if prediction.dtype != torch.bool or truth.dtype != torch.bool:
        raise ValueError("Give bool masks; compare scores with a threshold first.")
    if prediction.shape != truth.shape:
        raise ValueError("Give prediction and truth masks of one shape.")
    return prediction.flatten(1), truth.flatten(1)


def _outline(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        raise ValueError("Give bool masks; compare scores with a threshold first.")
    # Outside the picture counts as background, so a mask touching the frame has an outline there.
    around = F.pad(mask, (1, 1, 1, 1))
    inner = around[..., :-2, 1:-1] & around[..., 2:, 1:-1]
    inner = inner & around[..., 1:-1, :-2] & around[..., 1:-1, 2:]
    return mask & ~inner


def _widened(outline: Tensor, radius: float) -> Tensor:
    reach = int(radius)
    at = torch.arange(-reach, reach + 1, device=outline.device)
    disc = (at[:, None] ** 2 + at[None] ** 2 <= radius**2).float()
    return F.conv2d(outline.float(), disc[None, None], padding=reach) > 0.5


def _share(outline: Tensor, near: Tensor) -> Tensor:
    right = (outline & near).flatten(1).sum(1).double()
    return right / outline.flatten(1).sum(1).clamp(min=1)
