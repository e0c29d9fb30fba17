"""What the claims of SegDiff and of implicit ensembles share: the networks, the measures and the rule.

Task: the skin of emoji people, every picture with its hue turned at random so that colour does not tell the
parts; mirrored pictures are the only augmentation of every arm. Trained on the train split, judged on even
places of the test split; nothing is chosen there. One U-Net for all, and one time of training, counted in
updates of the plain U-Net: `COSTS` says what an update of each arm takes in that unit, measured beforehand
on one CPU core, so that the number of updates does not depend on the machine of the day; `RATES` were chosen
on the split `pool`, which no arm is trained or judged on. tools/train_segdiff.py finds both anew.

Required, each with a 95 % interval over pictures above 0: nine samples beat one; their consensus beats every
other arm; their variance ranks wrong pixels, and pictures with many of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.baselines.supervised import FittedUNet, SupervisedUNet, course
from headwater.data import Set, load
from headwater.experiments.comparison import Bound, Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.gallery import names
from headwater.methods.segmentation.implicit_ensembles.method import ImplicitEnsembles
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.methods.segmentation.shared.mask_diffusion import merge
from headwater.metrics.segmentation import dice
from headwater.metrics.statistics import bootstrap_interval, spearman
from headwater.models import Pretrained, PriorConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.report import Cell, Heat, Section, Series
from headwater.sampling import Run

DATA, SIDE, SKIN = "emoji-parts-hue", 24, "skin"
SUM, CONCATENATED = "SegDiff", "SegDiff, picture concatenated"
IMPLICIT, PLAIN = "implicit ensemble", "plain U-Net"
COSTS = {SUM: 1.56, CONCATENATED: 1.02, IMPLICIT: 1.06, PLAIN: 1.0}
"""Time of one update, in those of the plain U-Net."""
RATES = {SUM: 4e-3, CONCATENATED: 5e-4, IMPLICIT: 1e-3, PLAIN: 4e-3}
"""Peak learning rates."""
UPDATES = 4400
"""Of the plain U-Net: full effort, and what ships."""
SHIPPED = {SUM: "segdiff-skin-{seed}", PLAIN: "segdiff-skin-{seed}-plain"}
"""Names of networks that tools/train_segdiff.py trained for so long."""
COUNTS = (1, 3, 5, 9, 25)
"""Numbers of samples that are merged."""
CONSENSUS = 9
"""The number that verdicts are about, SegDiff's own."""
DICE, RANK = "Dice", "rank correlation of variance and error over pixels"

Learner = SegDiff | ImplicitEnsembles | SupervisedUNet
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    arms: tuple[str, ...]
    """Those beside the plain U-Net, the claim's own first."""
    updates: int = UPDATES
    """Time that every network is trained for, in updates of the plain U-Net."""
    side: int = SIDE
    pictures: int = 60
    """Test pictures."""
    shipped: bool = False
    """All seeds only draw, with networks that ship; one that does not is trained with the first seed."""
    smaller: bool = False
    """Networks of one level and two steps: for tests."""


UNET = UNetArchitecture(32, (1, 1, 1), 1, (4,), use_scale_shift_norm=False)
"""Of every arm."""
# Ten steps with the posterior's variance, v for the noise, masks kept in range: what minutes of training
# allow. With the noise three in ten masks of `pool` were white all over, in 10 steps as in 100.
_SEGDIFF = SegDiff(
    steps=10, clip=(-1, 1), variance="small", predicts="v", network=UNET,
    encoder_blocks=1, encoder_width=16, encoder_growth=8,
)  # fmt: skip
_ARMS: dict[str, Learner] = {
    SUM: _SEGDIFF,
    CONCATENATED: replace(_SEGDIFF, condition="concatenate"),
    # Clean estimates kept in the range of its masks: on `pool` the reference's wider one draws hardly a mask.
    IMPLICIT: ImplicitEnsembles(samples=9, steps=25, clip=(0, 1), predicts="v", mirror=True, network=UNET),
    # Its images are mirrored like the others' and changed in no other way.
    PLAIN: SupervisedUNet(shift=0, hue=False),
}


def arm(name: str, updates: int, rate: float | None = None, smaller: bool = False) -> Learner:
    """An arm that trains as long as the plain U-Net does for so many updates."""
    training = course(max(1, round(updates / COSTS[name])), rate or RATES[name])
    made = _ARMS[name]
    if isinstance(made, SupervisedUNet):
        return replace(made, training=training)
    if smaller:  # untrained networks that predict the noise still mask something
        made = replace(made, network=sizes(smaller), steps=2, predicts="eps")
    return replace(made, training=replace(training, weight_decay=0.0, grad_clip=0.0, ema=0.99))


def sizes(smaller: bool) -> UNetArchitecture:
    """The U-Net of every arm, or one of a single level."""
    return replace(UNET, channel_mult=(1,), attention_resolutions=()) if smaller else UNET


def pictures(split: str, side: int = SIDE) -> tuple[Set, Tensor]:
    """A split with its masks: int64 (N, H, W), 1 where the picture shows skin."""
    found = load(DATA, split, side)
    if found.labels is None:
        raise ValueError(f"{found.name} has no label maps: choose another set")
    return found, (found.labels == found.classes.index(SKIN)).long()


def places(n: int, count: int) -> Tensor:
    """`count` even places among n pictures, int64."""
    return torch.linspace(0, n - 1, count).long()


def fit(learner: Learner, learn: Tensor, masks: Tensor, run: Run, smaller: bool = False) -> Pretrained:
    """Train an arm from fresh weights; the plain U-Net is that of the methods, with two classes."""
    if not isinstance(learner, SupervisedUNet):
        return learner.fit(learn, masks, **run)
    channels, height, width = learn.shape[1:]
    network = {"in_channels": channels, "out_channels": 2, **asdict(sizes(smaller))}
    return learner.fit(PriorConfig(network, (channels, height, width)), learn, masks, **run)


def shipped(name: str, seed: int, updates: int) -> Pretrained | None:
    """The network of an arm and a seed that was trained for so long, if it ships."""
    called = SHIPPED.get(name, "").format(seed=seed)
    if updates != UPDATES or called not in names("fitted"):
        return None
    return (FittedUNet if name == PLAIN else FittedSegDiff).from_pretrained(called)


def masks_of(learner: Learner, fitted: Any, image: Tensor, count: int, run: Run) -> Tensor:
    """Masks of images (B, C, H, W): float32 (B, count, 1, H, W); the plain U-Net has one only."""
    if isinstance(learner, SupervisedUNet):
        return fitted.predict(image, **run)[:, None, None].float()
    return replace(learner, samples=count).apply(image, fitted, **run).samples


def mean_dice(samples: Tensor, truth: Tensor, n: int) -> Tensor:
    """Dice (B,) of the consensus of n of the samples (B, N, 1, H, W), averaged over disjoint groups of n."""
    groups = range(0, samples.shape[1] - n + 1, n)
    return torch.stack([dice(merge(samples[:, i : i + n]).labels > 0, truth) for i in groups]).mean(0)


def at(count: int) -> str:
    """Name of the case in which so many samples are merged."""
    return f"{count} sample{'s' if count > 1 else ''}"


def measure(settings: Settings, trial: Trial) -> None:
    """Train, or load, every arm and judge it on the test split."""
    learn, masks = trial.once("train", lambda: pictures("train", settings.side))
    test, every = trial.once("test", lambda: pictures("test", settings.side))
    rows = places(len(test), settings.pictures)
    image, truth, found = test.images[rows], every[rows], trial.found
    found.samples |= {"picture": image, "truth": truth, "arms": {}}
    for name in (*settings.arms, PLAIN):
        learner = arm(name, settings.updates, smaller=settings.smaller)
        own = trial.seeds[0] if settings.shipped else trial.seed
        fitted = shipped(name, 0 if settings.shipped else own, settings.updates)
        if fitted is None:
            fitted = trial.train(
                name,
                lambda run, arm=learner: fit(arm, learn.images, masks, run, settings.smaller),
                1 if settings.shipped else None,
            )
        drawn = masks_of(learner, fitted, image, max(COUNTS), trial.run(64))
        for count in COUNTS if drawn.shape[1] > 1 else (1,):
            found.add(DICE, name, mean_dice(drawn, truth > 0, count), at(count))
        nine = merge(drawn[:, :CONSENSUS])
        wrong, variance = (nine.labels != truth).flatten(1).double(), nine.variance.flatten(1)
        if name == settings.arms[0]:
            ranks = [spearman(v, w) for v, w in zip(variance.numpy(), wrong.numpy(), strict=True)]
            found.add(RANK, name, ranks)
            found.add("mean variance", name, variance.mean(1))
            found.add("wrong pixels", name, wrong.mean(1))
        found.samples["arms"][name] = {
            "samples": nine.samples[:, :2], "mean": nine.mean, "variance": nine.variance,
            "mask": nine.labels > 0, "updates": learner.training.steps,
            "parameters": sum(p.numel() for p in fitted.network.parameters()),
        }  # fmt: skip


def over_pixels(ranks: Values) -> Values:
    """Per picture the mean over seeds (seeds, pictures); one without any error has no rank correlation and
    is left out."""
    return np.array([row[~np.isnan(row)].mean() for row in ranks.T if not np.isnan(row).all()])


def over_pictures(variance: Values, wrong: Values) -> tuple[float, float, float]:
    """Rank correlation over pictures with its 95 % bootstrap interval; 0 where nothing varies."""

    def correlation(rows: Values) -> float:
        value = spearman(variance[rows.astype(int)], wrong[rows.astype(int)])
        return 0.0 if np.isnan(value) else value

    every = np.arange(len(variance), dtype=np.float64)
    return correlation(every), *bootstrap_interval(every, seed=0, statistic=correlation)


def correlations(results: Results[Settings]) -> dict[str, tuple[float, float, float]]:
    """Of variance and error: within pictures, and over them; mean, low and high."""
    ours = results.settings.arms[0]
    pixels = over_pixels(results.rows(RANK, ours))
    inside = (float(pixels.mean()), *bootstrap_interval(pixels, seed=0)) if pixels.size else (0.0, 0.0, 0.0)
    of = [results.rows(m, ours).mean(0) for m in ("mean variance", "wrong pixels")]
    return {"the pixels of a picture": inside, "pictures": over_pictures(of[0], of[1])}


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule of the head of this file."""
    ours, *others = (*results.settings.arms, PLAIN)
    nine = (DICE, ours, at(CONSENSUS))
    found: list[Condition] = [
        results.compare(f"Dice of {CONSENSUS} samples against 1", nine, (DICE, ours, at(1)))
    ]
    for other in others:
        theirs = (DICE, other, at(1 if other == PLAIN else CONSENSUS))
        found.append(results.compare(f"Dice against the {other}", nine, theirs))
    for where, (mean, low, high) in correlations(results).items():
        what = f"rank correlation of variance and error {mean:.2f} [{low:.2f}, {high:.2f}] over {where}"
        found.append(Bound(what, low > 0, mean))
    return found


def extra(results: Results[Settings]) -> dict[str, Any]:
    """Correlations, and the size and training of every network."""
    arms = results.first["arms"]
    return {
        "variance_error_spearman": correlations(results),
        "updates": {name: a["updates"] for name, a in arms.items()},
        "parameters": {name: a["parameters"] for name, a in arms.items()},
    }


def show(section: Section, results: Results[Settings]) -> None:
    """Masks of the first seed, Dice over the number of samples, and what each network cost."""
    first, arms, ours = results.first, results.first["arms"], results.settings.arms[0]
    own, order = arms[ours], places(len(first["picture"]), min(8, len(first["picture"]))).tolist()
    top = float(own["variance"].max()) or 1.0
    rows: list[list[Cell]] = [
        [first["picture"][i], *(s > 0.5 for s in own["samples"][i]), Heat(own["mean"][i], high=1.0),
         Heat(own["variance"][i], high=top), own["mask"][i], arms[PLAIN]["mask"][i], first["truth"][i] > 0]
        for i in order
    ]  # fmt: skip
    section.pictures(
        ["picture", "sample 1", "sample 2", "mean", "spread", "mask", PLAIN, "truth"],
        rows,
        [f"test {i}" for i in order],
        caption="At even places of the test pictures: not selected. Mean, spread (variance) and mask are "
        "of nine samples; brighter is larger.",
    )
    lines = [
        Series(name, list(COUNTS), [results.mean(DICE, name, at(1 if name == PLAIN else c)) for c in COUNTS])
        for name in arms
    ]
    section.curve(
        lines,
        "samples merged",
        DICE,
        "Mean over test pictures and seeds. The plain network gives one mask; its line is level.",
    )
    seconds = results.training_seconds
    section.table(
        ["arm", "parameters", "updates", "cost of one", "seconds of training"],
        [
            [n, a["parameters"], a["updates"], COSTS[n],
             float(np.mean(seconds[n])) if n in seconds else "ships"]
            for n, a in arms.items()
        ],
        "Every arm has the time that the plain U-Net takes for its updates; a network that ships was trained "
        "for as long beforehand.",
    )  # fmt: skip


def mask_claim(
    method: str, title: str, statement: str, quick: Settings, full: Settings, tiny: Settings
) -> Claim[Settings]:
    """The claim of one of the two methods."""
    return Claim(
        method,
        title,
        "The skin of emoji people in random hues. Each mask is drawn anew from noise; nine are averaged. "
        "Masks of the first seed.",
        unit="picture",
        tiny=tiny,
        quick=quick,
        full=full,
        measures={
            DICE: Measure("larger", "With as many samples merged, averaged over groups of samples."),
        },
        measure=measure,
        rule=rule,
        show=show,
        extra=extra,
        statement=statement,
        quick_seeds=1,
        quick_proves=False,
    )
