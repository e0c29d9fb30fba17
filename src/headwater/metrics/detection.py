"""Scores against truth: curves over all thresholds, and rates at one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Outcomes of a yes/no decision; rates with an empty denominator are NaN.

    AnoDDPM's reference reports recall under the name precision, precision under the name recall,
    and fn / (fn + tn) under the name fpr; here every name is the field's.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, prediction: Tensor, truth: Tensor) -> Counts:
        """Count over all elements of two bool tensors of one shape."""
        if prediction.dtype != torch.bool or truth.dtype != torch.bool:
            raise ValueError("Give bool tensors; compare scores with a threshold first.")
        if prediction.shape != truth.shape:
            raise ValueError("Give prediction and truth of one shape.")
        pairs = (prediction & truth, prediction & ~truth, ~prediction & truth, ~prediction & ~truth)
        return cls(*(int(p.sum()) for p in pairs))

    @property
    def precision(self) -> float:
        """Share of the detections that are right: tp / (tp + fp)."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the positives that are found (sensitivity): tp / (tp + fn)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def false_positive_rate(self) -> float:
        """Share of the negatives called positive: fp / (fp + tn)."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def false_omission_rate(self) -> float:
        """Share of the negative calls that are wrong: fn / (fn + tn)."""
        return _ratio(self.fn, self.fn + self.tn)

    @property
    def dice(self) -> float:
        """2 tp / (2 tp + fp + fn), pooled over all elements (F1)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """tp / (tp + fp + fn), pooled over all elements."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: rates (K,) float64 of `score >= thresholds`, falling."""

    false_positive_rate: Tensor
    true_positive_rate: Tensor
    thresholds: Tensor


def roc_curve(scores: Tensor, positive: Tensor) -> Roc:
    """The curve over all distinct scores, starting at (0, 0) with threshold infinity.

    `scores` and bool `positive` have one shape; larger scores mean more positive. Raises ValueError
    for NaN scores and where positives or negatives are missing.
    """
    levels, tp, fp = _sweep(scores, positive)
    return Roc(fp / fp[-1], tp / tp[-1], levels)


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Probability that a positive outscores a negative, ties counting one half (exact).

    The Mann-Whitney statistic; the same as the trapezoidal area under `roc_curve`.
    """
    _, tp, fp = _sweep(scores, positive)
    # Counts stay integers below 2**53, so the sum is exact up to the final division.
    area = (fp.diff() * (tp[1:] + tp[:-1])).sum()
    return float(area / (2 * tp[-1] * fp[-1]))


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Sum over falling thresholds of precision times the recall gained (no interpolation)."""
    _, tp, fp = _sweep(scores, positive)
    precision = tp[1:] / (tp[1:] + fp[1:])
    return float((precision * tp.diff()).sum() / tp[-1])


def best_dice(scores: Tensor, positive: Tensor) -> tuple[float, float]:
    """The largest Dice any threshold reaches, and that threshold (`score >= threshold`).

    One sort, all thresholds. Choosing it on the data it is reported for is an upper bound, not a
    result: choose on validation data, or say "best threshold".
    """
    levels, tp, fp = _sweep(scores, positive)
    overlap = 2 * tp / (tp + fp + tp[-1])
    at = int(overlap.argmax())
    return float(overlap[at]), float(levels[at])


def dice_over(scores: Tensor, positive: Tensor, thresholds: Tensor) -> Tensor:
    """Dice of `score >= threshold` for each of N pictures and K thresholds: float64 (N, K).

    scores and bool positive: (N, ...) of one shape. NaN where a picture has neither.
    """
    s, p = scores.detach().flatten(1).double(), positive.flatten(1)
    columns = []
    for threshold in thresholds.double():
        hit = s >= threshold
        columns.append(2 * (hit & p).sum(1).double() / (hit.sum(1) + p.sum(1)))
    return torch.stack(columns, 1)


def _sweep(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Falling distinct thresholds, and cumulative true and false positives at each (float64)."""
    s, p = scores.detach().flatten().double(), positive.flatten()
    if p.dtype != torch.bool or s.shape != p.shape:
        raise ValueError("Give scores and a bool truth of one shape.")
    if bool(s.isnan().any()):
        raise ValueError("Remove NaN scores first: they have no place in a ranking.")
    if bool(p.all()) or not bool(p.any()):
        raise ValueError("Give at least one positive and one negative to rank.")
    s, order = s.sort(descending=True)
    p = p[order].double()
    # Equal scores cannot be told apart by any threshold: keep the last of each run.
    last = torch.cat([s.diff() != 0, torch.ones(1, dtype=torch.bool, device=s.device)])
    tp, fp = p.cumsum(0)[last], (1 - p).cumsum(0)[last]
    zero = torch.zeros(1, dtype=torch.float64, device=s.device)
    return torch.cat([zero + torch.inf, s[last]]), torch.cat([zero, tp]), torch.cat([zero, fp])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
