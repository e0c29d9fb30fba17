"""What the claims of SegDiff and of implicit ensembles share: data, arms, measures and the page.

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
from torch import Tensor, nn

from headwater.claims.base import Outcome, Task
from headwater.claims.comparison import Comparison, Verdict, compare, verdict
from headwater.data import Set, load
from headwater.methods.segmentation.implicit_ensembles import ImplicitEnsembles
from headwater.methods.segmentation.mask_diffusion import MaskEnsemble, merge
from headwater.methods.segmentation.segdiff import SegDiff
from headwater.methods.segmentation.supervised import SupervisedUNet, predict_supervised
from headwater.metrics.segmentation import dice
from headwater.metrics.statistics import bootstrap_interval, spearman
from headwater.priors import PriorConfig
from headwater.report import Cell, Estimate, Heat, Page, Series
from headwater.run import Run

PLAIN = "plain U-Net"
SKIN = "skin"
COUNTS = (1, 3, 5, 9, 25)
"""Numbers of samples that are merged."""
CONSENSUS = 9
"""The number that verdicts are about, SegDiff's own."""

DiffusesMasks = SegDiff | ImplicitEnsembles


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    side: int
    pictures: int
    """Test pictures."""
    seeds: int
    """At most; each trains networks of its own."""
    plain: SupervisedUNet
    """The baseline; its steps take about as long as the method's."""


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
    parameters: int = 0
    first: MaskEnsemble | None = None
    """Of the first seed."""

    def at(self, count: int) -> np.ndarray[Any, Any]:
        """Dice (seeds, pictures) with so many samples."""
        return torch.stack([c[COUNTS.index(count)] for c in self.curves]).numpy()


def measure(
    task: Task, setting: Setting, methods: Mapping[str, DiffusesMasks]
) -> tuple[dict[str, Arm], Set, Tensor, Tensor]:
    """Train and judge every method and the baseline; also the test set, its masks and the plain masks."""
    learn, test = (load("emoji-parts-hue", split, setting.side) for split in ("train", "test"))
    test = test.select(torch.linspace(0, len(test) - 1, setting.pictures).long())
    masks, truth = skin(learn), skin(test)
    arms = {name: Arm() for name in (*methods, PLAIN)}
    plain = truth
    for seed in task.seeds[: setting.seeds]:
        run = Run(seed, batch=64, progress=task.progress)
        for name, method in methods.items():
            arm, begun = arms[name], time.perf_counter()
            fitted = method.fit(learn.images, masks, run)
            arm.seconds.append(time.perf_counter() - begun)
            arm.parameters = parameters(fitted.network)
            # Each pair is one class, and `apply` does not depend on how many samples are merged.
            drawn = method.apply(test.images, fitted, run)  # pyright: ignore[reportArgumentType]
            add(arm, drawn, truth)
        begun = time.perf_counter()
        network = setting.plain.fit(_architecture(methods, learn), learn.images, masks, run)
        arms[PLAIN].seconds.append(time.perf_counter() - begun)
        arms[PLAIN].parameters = parameters(network)
        found = predict_supervised(network, test.images, run)
        arms[PLAIN].curves.append(dice(found > 0, truth > 0)[None])
        plain = found if len(arms[PLAIN].curves) == 1 else plain
    return arms, test, truth, plain


def add(arm: Arm, drawn: MaskEnsemble, truth: Tensor) -> None:
    """Measure one seed's samples."""
    arm.curves.append(torch.stack([mean_dice(drawn.samples, truth > 0, n) for n in COUNTS]))
    nine = merge(drawn.samples[:, :CONSENSUS])
    wrong, doubt = (nine.labels != truth).flatten(1).double(), nine.variance.flatten(1)
    arm.pixels.append([spearman(a, b) for a, b in zip(doubt.numpy(), wrong.numpy(), strict=True)])
    arm.doubts.append(doubt.mean(1).tolist())
    arm.errors.append(wrong.mean(1).tolist())
    arm.first = arm.first or nine


def mean_dice(samples: Tensor, truth: Tensor, n: int) -> Tensor:
    """Dice (B,) of the consensus of n of the samples (B, N, 1, H, W), averaged over disjoint groups of n."""
    groups = range(0, samples.shape[1] - n + 1, n)
    return torch.stack([dice(merge(samples[:, i : i + n]).labels > 0, truth) for i in groups]).mean(0)


def skin(found: Set) -> Tensor:
    """1 where the picture shows skin: int64 (N, H, W)."""
    if found.labels is None:
        raise ValueError(f"{found.name} has no label maps: choose another set")
    return (found.labels == found.classes.index(SKIN)).long()


def parameters(network: nn.Module) -> int:
    """Trainable and frozen numbers of a network."""
    return sum(p.numel() for p in network.parameters())


def finite(values: Sequence[Sequence[float]]) -> np.ndarray[Any, Any]:
    """Per picture the mean over seeds; one without any error has no rank correlation and is left out."""
    table = np.array(values, dtype=np.float64)
    return np.array([row[~np.isnan(row)].mean() for row in table.T if not np.isnan(row).all()])


def conclude(
    task: Task, name: str, ours: str, claim: str, arms: Mapping[str, Arm], against: Sequence[str]
) -> Outcome:
    """The rule: nine samples beat one, variance ranks wrong pixels and wrong pictures above chance, and the
    consensus of nine beats every arm of `against`, each with a 95 % interval over pictures above 0.

    One seed, or quick effort, can show parts only.
    """
    arm = arms[ours]
    nine = arm.at(CONSENSUS)
    comparisons = [compare("Dice of 9 samples against 1", nine, arm.at(1), "larger", "picture")]
    comparisons += [
        compare(f"Dice against the {n}", nine, _settled(arms[n]), "larger", "picture") for n in against
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
            "dice": {n: {str(c): a.at(c).mean(1).tolist() for c in _counts(a)} for n, a in arms.items()},
            "comparisons": {c.what: c.to_dict() for c in comparisons},
            "variance_error_spearman": {"pixels": inside, "pictures": pictures},
            "seconds": {n: a.seconds for n, a in arms.items()},
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


def show(page: Page, title: str, ours: str, arms: Mapping[str, Arm], test: Set, truth: Tensor, plain: Tensor,
         answer: Outcome, settings: Mapping[str, object]) -> None:  # fmt: skip
    """Pictures, the curve over samples, the table, the verdict."""
    section = page.section(
        title,
        "The skin of emoji people in random hues. Each mask is drawn anew from noise; nine are averaged. "
        "Masks of the first seed.",
    )
    found = arms[ours].first
    if found is not None:
        top = float(found.variance.max()) or 1.0
        order = torch.linspace(0, len(test) - 1, min(8, len(test))).long().tolist()
        rows: list[list[Cell]] = [
            [test.images[i], *(s > 0.5 for s in found.samples[i, :2]), Heat(found.mean[i], high=1.0),
             Heat(found.variance[i], high=top), found.labels[i] > 0, plain[i] > 0, truth[i] > 0]
            for i in order
        ]  # fmt: skip
        columns = ["picture", "sample 1", "sample 2", "mean", "spread", "mask", PLAIN]
        section.pictures(
            [*columns, "truth"],
            rows,
            [f"test {i}" for i in order],
            caption="At even places of the test pictures: not selected. Mean, spread (variance) and mask are "
            "of nine samples; brighter is larger.",
        )
    lines = [
        Series(n, list(_counts(a)), [float(a.at(c).mean()) for c in _counts(a)])
        for n, a in arms.items()
        if n != PLAIN
    ]
    level = float(_settled(arms[PLAIN]).mean())
    section.curve(
        [*lines, Series(PLAIN, list(COUNTS), [level] * len(COUNTS))],
        "samples merged",
        "Dice",
        "Mean over test pictures and seeds. The plain network gives one mask; its line is level.",
    )
    table = [[n, a.parameters, _spread(a.seconds), *_dices(a)] for n, a in arms.items()]
    section.table(
        ["arm", "parameters", "seconds of training", "Dice of 1", f"Dice of {CONSENSUS}"],
        table,
        "Mean and standard deviation over seeds.",
    )
    section.settings(settings)
    section.claim(answer.claim, answer.measured, answer.verdict)


def _architecture(methods: Mapping[str, DiffusesMasks], learn: Set) -> PriorConfig:
    """The U-Net of the methods, from a picture to two classes."""
    method = next(iter(methods.values()))
    channels, height, width = learn.images.shape[1:]
    network = {
        "in_channels": channels,
        "model_channels": method.channels,
        "out_channels": 2,
        "num_res_blocks": method.res_blocks,
        "attention_resolutions": method.attention,
        "channel_mult": method.channel_mult,
        "num_heads": method.heads,
    }
    return PriorConfig(network, (channels, height, width))


def _dices(arm: Arm) -> list[object]:
    """Cells of one and of nine samples; the baseline has one mask."""
    if len(arm.curves[0]) == 1:
        return [_spread(arm.at(1).mean(1).tolist()), ""]
    return [_spread(arm.at(c).mean(1).tolist()) for c in (1, CONSENSUS)]


def _counts(arm: Arm) -> tuple[int, ...]:
    return COUNTS[: len(arm.curves[0])]


def _settled(arm: Arm) -> np.ndarray[Any, Any]:
    """Dice (seeds, pictures) of nine samples, or of the one mask of the baseline."""
    return arm.at(CONSENSUS if len(arm.curves[0]) > 1 else 1)


def _spread(values: Sequence[float]) -> object:
    return Estimate.of(values) if len(values) > 1 else values[0]


def _interval(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"
