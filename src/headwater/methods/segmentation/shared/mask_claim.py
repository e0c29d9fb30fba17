"""What the claims of SegDiff and of implicit ensembles share: arms, measures and the rule.

Task: the skin of emoji people, every picture with its hue turned at random so that colour does not tell the
parts; mirrored pictures are the only augmentation of every arm. Trained on the train split, judged on even
places of the test split; nothing is chosen there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater.experiments.base import Outcome, Task, training_seconds
from headwater.experiments.comparison import Comparison, Verdict, compare, verdict
from headwater.methods.segmentation.shared.mask_claim_networks import (
    PLAIN,
    arm,
    fit,
    masks_of,
    parameters,
    pictures,
    places,
    shipped,
)
from headwater.methods.segmentation.shared.mask_diffusion import MaskEnsemble, merge
from headwater.metrics.segmentation import dice
from headwater.metrics.statistics import bootstrap_interval, spearman

COUNTS = (1, 3, 5, 9, 25)
"""Numbers of samples that are merged."""
CONSENSUS = 9
"""The number that verdicts are about, SegDiff's own."""


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    arms: tuple[str, ...]
    """Those beside the plain U-Net, the claim's own first."""
    updates: int
    """Time that every network is trained for, in updates of the plain U-Net."""
    side: int
    pictures: int
    """Test pictures."""
    seeds: int
    """At most; each trains networks of its own."""
    shipped: bool = False
    """All seeds only draw, with networks that ship; one that does not is trained with seed 0."""


@dataclass
class Arm:
    """What one arm did, seed by seed."""

    curves: list[Tensor] = field(default_factory=list)
    """Dice (len(COUNTS), pictures) of each seed; of the baseline one row."""
    pixels: list[list[float]] = field(default_factory=list)
    """Rank correlation of variance and error over the pixels of each picture, of each seed."""
    doubts: list[list[float]] = field(default_factory=list)
    """Mean variance of each picture."""
    errors: list[list[float]] = field(default_factory=list)
    """Share of wrong pixels of each picture, for the consensus of nine."""
    seconds: list[float] = field(default_factory=list)
    """What the trainings of this run took; a network that ships took none."""
    updates: int = 0
    parameters: int = 0
    first: MaskEnsemble | None = None
    """Of the first seed."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of samples; the baseline has one mask."""
        return COUNTS[: len(self.curves[0])]

    def at(self, count: int) -> np.ndarray[Any, Any]:
        """Dice (seeds, pictures) with so many samples."""
        return torch.stack([c[COUNTS.index(count)] for c in self.curves]).numpy()

    def settled(self) -> np.ndarray[Any, Any]:
        """Dice (seeds, pictures) of nine samples, or of the one mask of the baseline."""
        return self.at(CONSENSUS if len(self.counts) > 1 else 1)


@dataclass(frozen=True)
class Found:
    """Every arm's measures, and what they were taken on."""

    arms: dict[str, Arm]
    image: Tensor
    """Test pictures (B, C, H, W)."""
    truth: Tensor
    """int64 (B, H, W)."""


def measure(task: Task, setting: Setting) -> Found:
    """Train, or load, every arm and judge it on the test split."""
    learn, masks = pictures("train", setting.side)
    test, truth = pictures("test", setting.side)
    rows = places(len(test), setting.pictures)
    found = Found({name: Arm() for name in (*setting.arms, PLAIN)}, test.images[rows], truth[rows])
    for seed in task.seeds[: setting.seeds]:
        run = task.run(seed, batch=64)
        own = 0 if setting.shipped else seed
        for name, made in found.arms.items():
            learner, begun = arm(name, setting.updates), time.perf_counter()
            fitted = shipped(name, own, setting.updates)
            if fitted is None:
                training = task.run(own).child(name)
                fitted = fit(learner, learn.images, masks, training)
                made.seconds.append(training_seconds(training, begun))
            made.updates, made.parameters = learner.training.steps, parameters(fitted)
            drawn = masks_of(learner, fitted, found.image, max(COUNTS), run)
            add(made, drawn, found.truth)
    return found


def add(arm: Arm, drawn: Tensor, truth: Tensor) -> None:
    """Measure one seed's masks (B, n, 1, H, W), as many as `COUNTS` wants or one only."""
    counts = [n for n in COUNTS if n <= drawn.shape[1]]
    arm.curves.append(torch.stack([mean_dice(drawn, truth > 0, n) for n in counts]))
    nine = merge(drawn[:, :CONSENSUS])
    wrong, doubt = (nine.labels != truth).flatten(1).double(), nine.variance.flatten(1)
    arm.pixels.append([spearman(a, b) for a, b in zip(doubt.numpy(), wrong.numpy(), strict=True)])
    arm.doubts.append(doubt.mean(1).tolist())
    arm.errors.append(wrong.mean(1).tolist())
    arm.first = arm.first or nine


def mean_dice(samples: Tensor, truth: Tensor, n: int) -> Tensor:
    """Dice (B,) of the consensus of n of the samples (B, N, 1, H, W), averaged over disjoint groups of n."""
    groups = range(0, samples.shape[1] - n + 1, n)
    return torch.stack([dice(merge(samples[:, i : i + n]).labels > 0, truth) for i in groups]).mean(0)


def finite(values: Sequence[Sequence[float]]) -> np.ndarray[Any, Any]:
    """Per picture the mean over seeds; one without any error has no rank correlation and is left out."""
    table = np.array(values, dtype=np.float64)
    return np.array([row[~np.isnan(row)].mean() for row in table.T if not np.isnan(row).all()])


def conclude(task: Task, name: str, claim: str, arms: Mapping[str, Arm]) -> Outcome:
    """The rule: nine samples beat one, variance ranks wrong pixels and wrong pictures above chance, and the
    consensus of nine of the first arm beats every other arm, each with a 95 % interval over pictures above 0.

    One seed, or quick effort, can show parts only.
    """
    ours, *against = arms
    arm = arms[ours]
    nine = arm.at(CONSENSUS)
    comparisons = [compare("Dice of 9 samples against 1", nine, arm.at(1), "larger", "picture")]
    comparisons += [
        compare(f"Dice against the {n}", nine, arms[n].settled(), "larger", "picture") for n in against
    ]
    pixels = finite(arm.pixels)
    inside = (float(pixels.mean()), *bootstrap_interval(pixels, seed=0)) if pixels.size else (0.0, 0.0, 0.0)
    pictures = ranked(np.array(arm.doubts).mean(0), np.array(arm.errors).mean(0))
    required: list[Comparison | bool] = [*comparisons, inside[1] > 0, pictures[1] > 0]
    found: Verdict = verdict(required)
    complete = task.effort == "full" and len(nine) >= 3
    measured = "; ".join(
        [
            *(str(c) for c in comparisons),
            f"rank correlation of variance and error {_interval(inside)} over the pixels of a picture and "
            f"{_interval(pictures)} over pictures",
            f"{len(nine)} seed{'s' if len(nine) > 1 else ''}, {nine.shape[1]} pictures",
        ]
    )
    return Outcome(
        name,
        claim,
        measured,
        found if complete or found != "held" else "partly",
        {
            "dice": {n: {str(c): a.at(c).mean(1).tolist() for c in a.counts} for n, a in arms.items()},
            "comparisons": {c.what: c.to_dict() for c in comparisons},
            "variance_error_spearman": {"pixels": inside, "pictures": pictures},
            "seconds": {n: a.seconds for n, a in arms.items()},
            "updates": {n: a.updates for n, a in arms.items()},
            "parameters": {n: a.parameters for n, a in arms.items()},
        },
        {"effort": task.effort, "seeds": list(task.seeds[: len(nine)])},
    )


def ranked(doubt: np.ndarray[Any, Any], wrong: np.ndarray[Any, Any]) -> tuple[float, float, float]:
    """Rank correlation over pictures with its 95 % bootstrap interval; 0 where nothing varies."""

    def correlation(rows: np.ndarray[Any, Any]) -> float:
        value = spearman(doubt[rows.astype(int)], wrong[rows.astype(int)])
        return 0.0 if np.isnan(value) else value

    every = np.arange(len(doubt), dtype=np.float64)
    return correlation(every), *bootstrap_interval(every, seed=0, statistic=correlation)


def _interval(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"
