"""What the claims of SegDiff and of implicit ensembles share: the networks, the measures and the rule.

Task: the skin of emoji people, every picture with its hue turned at random so that colour does not tell the
parts; mirrored pictures are the only augmentation of every arm. Trained on the train split, judged on even
places of the test split; nothing is chosen there. One U-Net for all, and one time of training, counted in
updates of the plain U-Net: `COSTS` says what an update of each arm takes in that unit, measured beforehand
on one CPU core, so that the number of updates does not depend on the machine of the day; `RATES` were chosen
on the split `pool`, which no arm is trained or judged on. tools/train_segdiff.py finds both anew.

Required, each with a 95 % interval over pictures above chance: nine samples beat one; their consensus beats
every other arm; their variance ranks wrong pixels, by AUROC within each picture, and pictures with many of
them, by rank correlation. The rank correlation of variance with wrong or right, which was measured before,
cannot be near 1 where 2 % of the pixels are wrong: within a picture it is AUROC - 1/2 times a factor that is
small there, of the same sign.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from headwater.baselines.supervised import FittedUNet, SupervisedUNet, course
from headwater.data import Set, load
from headwater.experiments.comparison import Bound, Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial, Values
from headwater.gallery import names
from headwater.methods.segmentation.implicit_ensembles.method import ImplicitEnsembles
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.methods.segmentation.shared.mask_diffusion import MaskEnsemble, merge
from headwater.metrics.detection import auroc
from headwater.metrics.segmentation import dice
from headwater.metrics.statistics import bootstrap_interval, spearman_interval
from headwater.models import Pretrained
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.report import Heat, Section
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
DICE, RANK = "Dice", "AUROC of variance for wrong pixels"

Learner = SegDiff | ImplicitEnsembles | SupervisedUNet


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
SMALL = replace(UNET, channel_mult=(1,), attention_resolutions=())
"""The same with a single level: for tests."""
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
        made = replace(made, network=SMALL, steps=2, predicts="eps")
    return replace(made, training=replace(training, weight_decay=0.0, grad_clip=0.0, ema=0.99))


def pictures(split: str, side: int = SIDE) -> tuple[Set, Tensor]:
    """A split with its masks: int64 (N, H, W), 1 where the picture shows skin."""
    found = load(DATA, split, side)
    return found, (cast(Tensor, found.labels) == found.classes.index(SKIN)).long()


def places(n: int, count: int) -> Tensor:
    """`count` even places among n pictures, int64."""
    return torch.linspace(0, n - 1, count).long()


def fit(learner: Learner, learn: Tensor, masks: Tensor, run: Run, smaller: bool = False) -> Pretrained:
    """Train an arm from fresh weights."""
    if isinstance(learner, SupervisedUNet):
        return learner.fit(asdict(SMALL if smaller else UNET), learn, masks, **run)
    return learner.fit(learn, masks, **run)


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
    image, truth, merged = test.images[rows], every[rows], dict[str, MaskEnsemble]()
    parameters = trial.found.samples["parameters"] = dict[str, int]()
    for name in (*settings.arms, PLAIN):
        learner = arm(name, settings.updates, smaller=settings.smaller)
        fitted = shipped(name, 0 if settings.shipped else trial.seed, settings.updates)
        if fitted is None:
            fitted = trial.train(
                name,
                lambda run, arm=learner: fit(arm, learn.images, masks, run, settings.smaller),
                1 if settings.shipped else None,
            )
        parameters[name] = sum(p.numel() for p in fitted.network.parameters())
        drawn = masks_of(learner, fitted, image, max(COUNTS), trial.run(64))
        for count in COUNTS if drawn.shape[1] > 1 else (1,):
            trial.found.add(DICE, name, mean_dice(drawn, truth > 0, count), at(count))
        merged[name] = merge(drawn[:, :CONSENSUS])
    ours = merged[settings.arms[0]]
    wrong, variance = (ours.labels != truth).flatten(1).double(), ours.variance.flatten(1)
    ranks = [
        auroc(v, w > 0) if 0 < int(w.sum()) < len(w) else float("nan")
        for v, w in zip(variance, wrong, strict=True)
    ]
    trial.found.add(RANK, settings.arms[0], ranks)
    trial.found.add("mean variance", settings.arms[0], variance.mean(1))
    trial.found.add("wrong pixels", settings.arms[0], wrong.mean(1))
    shown, top = places(len(image), min(8, len(image))).tolist(), float(ours.variance.max()) or 1.0
    trial.section.pictures(
        ["picture", "sample 1", "sample 2", "mean", "spread", "mask", PLAIN, "truth"],
        [
            [image[i], *(ours.samples[i, :2] > 0.5), Heat(ours.mean[i], high=1.0),
             Heat(ours.variance[i], high=top), ours.labels[i] > 0, merged[PLAIN].labels[i] > 0, truth[i] > 0]
            for i in shown
        ],
        [f"test {i}" for i in shown],
        caption="At even places of the test pictures: not selected. Mean, spread (variance) and mask are "
        "of nine samples; brighter is larger.",
    )  # fmt: skip


def over_pixels(ranks: Values) -> Values:
    """Per picture the mean over seeds (seeds, pictures); one without any error has no AUROC and is left
    out."""
    return np.nanmean(ranks[:, ~np.isnan(ranks).all(0)], axis=0)


def predicted(results: Results[Settings]) -> dict[str, tuple[float, float, float]]:
    """How well variance predicts error, within pictures by AUROC and over them by rank; mean, low, high."""
    ours = results.settings.arms[0]
    pixels = over_pixels(results.rows(RANK, ours))
    inside = (float(pixels.mean()), *bootstrap_interval(pixels, seed=0)) if pixels.size else (0.5, 0.5, 0.5)
    of = [results.rows(m, ours).mean(0) for m in ("mean variance", "wrong pixels")]
    over = "rank correlation of variance and wrong pixels over pictures"
    return {RANK: inside, over: spearman_interval(of[0], of[1], seed=0)}


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule of the head of this file."""
    ours, *others = (*results.settings.arms, PLAIN)
    nine, one = (DICE, ours, at(CONSENSUS)), (DICE, ours, at(1))
    found: list[Condition] = [results.compare(f"Dice of {CONSENSUS} samples against 1", nine, one)]
    for other in others:
        theirs = (DICE, other, at(1 if other == PLAIN else CONSENSUS))
        found.append(results.compare(f"Dice against the {other}", nine, theirs))
    for what, (mean, low, high) in predicted(results).items():
        chance = 0.5 if what == RANK else 0.0
        found.append(Bound(f"{what} {mean:.2f} [{low:.2f}, {high:.2f}]", low > chance, mean))
    return found


def updates(results: Results[Settings]) -> dict[str, int]:
    """How long each arm was trained, in its own updates."""
    arms = results.first["parameters"]
    return {name: arm(name, results.settings.updates).training.steps for name in arms}


def extra(results: Results[Settings]) -> dict[str, Any]:
    """How well variance predicts error, and the size and training of every network."""
    trained = {"updates": updates(results), "parameters": results.first["parameters"]}
    return {"variance_predicts_error": predicted(results), **trained}


def show(section: Section, results: Results[Settings]) -> None:
    """Dice over the number of samples, and what each network cost."""
    section.curve(
        {
            name: (COUNTS, [results.mean(DICE, name, at(1 if name == PLAIN else n)) for n in COUNTS])
            for name in results.arms(DICE)
        },
        "samples merged",
        DICE,
        "Mean over test pictures and seeds. The plain network gives one mask; its line is level.",
    )
    seconds = {name: float(np.mean(took)) for name, took in results.training_seconds.items()}
    section.table(
        ["arm", "parameters", "updates", "cost of one", "seconds of training"],
        [
            [name, results.first["parameters"][name], count, COSTS[name], seconds.get(name, "ships")]
            for name, count in updates(results).items()
        ],
        "Every arm has the time that the plain U-Net takes for its updates; a network that ships was trained "
        "for as long beforehand.",
    )


def mask_claim(method: str, title: str, statement: str, quick: Settings, full: Settings) -> Claim[Settings]:
    """The claim of one of the two methods."""
    return Claim(
        method,
        title,
        "The skin of emoji people in random hues. Each mask is drawn anew from noise; nine are averaged. "
        "Masks of the first seed.",
        unit="picture",
        tiny=replace(full, updates=2, side=8, pictures=3, smaller=True),
        quick=quick,
        full=full,
        measures={DICE: Measure("larger", "With as many samples merged, averaged over groups of samples.")},
        measure=measure,
        rule=rule,
        show=show,
        extra=extra,
        statement=statement,
        quick_seeds=1,
        quick_proves=False,
    )
