"""What the claims of SegDiff and of implicit ensembles share: the networks, the measures and the rule.

Task: bright soft lesions in slices of a brain, each outlined by four annotators who end it at different
heights. All arms learn from one head, each picture with each annotator's mask, and are judged on slices of
another head, the same for every training. Each seed draws its own training lesions, weights and batches. One
U-Net for all, and one time of training, counted in updates of the plain U-Net: `COSTS` says what an update of
each arm takes in that unit, measured beforehand on one CPU core, so that the number of updates does not
depend on the machine of the day (tools/train_segdiff.py --costs). The learning rate of every arm is the best
of the same four, by Dice on slices of the first head that no arm learns from, after trainings of a fifth of
the time; nothing is chosen on the other head.

Dice is to the majority of the annotators; pixels on which two see a lesion and two do not are left out. The
energy distance is that between the masks of an arm and the four annotations, by 1 - IoU. Required, each with
its 95 % interval over pictures and with Student's over trainings:

1. the consensus of nine masks has a larger Dice than one of them, beyond chance, and than that of any other
   way in for the picture that is compared;
2. its Dice is not worse than the plain U-Net's: the interval of the difference lies above -0.02;
3. nine masks have a smaller energy distance to the annotators than the plain U-Net's mask, beyond chance;
4. pixel by pixel the variance of nine masks follows that of the annotators: the correlation within a picture
   is above 0.5 with its whole interval.

Beside it, not required, stand nine masks that the probabilities of the plain U-Net give, cut at nine even
heights. The annotations lie inside one another, and such cuts, where probabilities are right, are all that
there is to know of them: no method can do better than tie with those of a perfect network.

A first version of the claim was about the skin of emoji people, whose pictures have one right mask each. This
rule, with its margin and bound, was written before any figure of an arm on the other head was seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from headwater.data.annotators import Annotated, annotated
from headwater.experiments.comparison import Bound, Comparison, Condition
from headwater.experiments.harness import Claim, Key, Measure, Results, Trial
from headwater.methods.segmentation.implicit_ensembles.method import ImplicitEnsembles
from headwater.methods.segmentation.segdiff.method import SegDiff
from headwater.methods.segmentation.shared.mask_diffusion import merge
from headwater.methods.segmentation.shared.supervised import FittedUNet, SupervisedUNet, course
from headwater.metrics.mask_agreement import energy_distance
from headwater.metrics.segmentation import dice
from headwater.metrics.statistics import student_interval
from headwater.models import Pretrained
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.report import Heat, Section
from headwater.sampling import Run

SUM, CONCATENATED = "SegDiff", "SegDiff, picture concatenated"
IMPLICIT, PLAIN = "implicit ensemble", "plain U-Net"
CUTS = "plain U-Net, nine cuts"
COSTS = {SUM: 1.56, CONCATENATED: 1.02, IMPLICIT: 1.06, PLAIN: 1.0}
"""Time of one update, in those of the plain U-Net."""
RATES = {SUM: 4e-3, CONCATENATED: 5e-4, IMPLICIT: 1e-3, PLAIN: 4e-3}
"""Peak learning rates where none is chosen; those of recipes/small.yaml."""
CHOICE = (5e-4, 1e-3, 2e-3, 4e-3)
"""Those that one is chosen of, for every arm: the best of each on another task, and none better beyond."""
COUNTS = (1, 3, 9)
"""Numbers of samples that are merged."""
CONSENSUS = 9
"""The number that verdicts are about, SegDiff's own."""
DICE, ENERGY = "Dice", "energy distance"
FOLLOWS = "correlation of variance with the annotators'"
MARGIN, LEAST = 0.02, 0.5
"""How much Dice counts as none, and how large the correlation has to be."""
TEST_SEED, CHOICE_SEED = 1000, 1001
"""Of the lesions that arms are judged on, and of those that rates are chosen on; those of training have the
seeds of the trainings."""

Learner = SegDiff | ImplicitEnsembles | SupervisedUNet


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    arms: tuple[str, ...]
    """Those beside the plain U-Net, the claim's own first."""
    updates: int = 1500
    """Time that every network is trained for, in updates of the plain U-Net."""
    choosing: int = 300
    """Time of the trainings that learning rates are chosen by, in the same unit; 0 takes `RATES`."""
    side: int = 24
    lesions: int = 936
    """Training pictures: each of 78 slices so many times in turn."""
    pictures: int = 60
    """Test pictures."""
    judging: int = 26
    """Pictures that learning rates are chosen on."""
    smaller: bool = False
    """Networks of one level and two steps: for tests."""


UNET = UNetArchitecture(32, (1, 1, 1), 1, (4,), use_scale_shift_norm=False)
"""Of every arm."""
SMALL = replace(UNET, channel_mult=(1,), attention_resolutions=())
"""The same with a single level: for tests."""
# Ten steps with the posterior's variance, v for the noise, masks kept in range: what minutes of training
# allow. With the noise three in ten masks of emoji's skin were white all over, in 10 steps as in 100.
_SEGDIFF = SegDiff(
    steps=10, clip=(-1, 1), variance="small", predicts="v", network=UNET,
    encoder_blocks=1, encoder_width=16, encoder_growth=8,
)  # fmt: skip
_ARMS: dict[str, Learner] = {
    SUM: _SEGDIFF,
    CONCATENATED: replace(_SEGDIFF, condition="concatenate"),
    # Clean estimates kept in the range of its masks: the reference's wider one draws hardly a mask.
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


def fit(learner: Learner, learn: Annotated, run: Run, smaller: bool = False) -> Pretrained:
    """Train an arm from fresh weights."""
    image, masks = learn.pairs()
    if isinstance(learner, SupervisedUNet):
        return learner.fit(asdict(SMALL if smaller else UNET), image, masks, **run)
    return learner.fit(image, masks, **run)


def masks_of(learner: Learner, fitted: Any, image: Tensor, run: Run) -> Tensor:
    """Nine masks of images (B, 1, H, W): float32 (B, 9, 1, H, W). Those of the plain U-Net are cuts of its
    probability at nine even heights, from the largest mask on; the fifth is the one that it means."""
    if isinstance(learner, SupervisedUNet):
        assert isinstance(fitted, FittedUNet)
        heights = (torch.arange(CONSENSUS) + 0.5).view(-1, 1, 1, 1) / CONSENSUS
        return (fitted.probabilities(image, **run)[:, None, 1:] > heights).float()
    return replace(learner, samples=CONSENSUS).apply(image, fitted, **run).samples


def mean_dice(samples: Tensor, truth: Annotated, n: int) -> Tensor:
    """Dice (B,), to the majority where there is one, of the consensus of n of the samples (B, N, 1, H, W),
    averaged over disjoint groups of n."""
    groups = range(0, samples.shape[1] - n + 1, n)
    found = [merge(samples[:, i : i + n]).labels > 0 for i in groups]
    return torch.stack([dice(mask & truth.settled, truth.majority) for mask in found]).mean(0)


def distances(samples: Tensor, truth: Annotated) -> Tensor:
    """Energy distance (B,) of the samples (B, N, 1, H, W) to the annotations."""
    pairs = zip(samples[:, :, 0] > 0.5, truth.masks, strict=True)
    return torch.stack([energy_distance(ours, theirs) for ours, theirs in pairs])


def correlation(ours: Tensor, theirs: Tensor) -> Tensor:
    """Pearson's over the pixels of each picture of two maps, (B, H, W) to (B,); 0 where one is level."""
    a, b = (v.flatten(1).double() - v.flatten(1).double().mean(1, keepdim=True) for v in (ours, theirs))
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(scale > 0, (a * b).sum(1) / scale.clamp(min=1e-300), 0.0)


def at(count: int) -> str:
    """Name of the case in which so many samples are merged."""
    return f"{count} sample{'s' if count > 1 else ''}"


def rates(settings: Settings, trial: Trial, name: str) -> dict[float, float]:
    """Learning rate -> Dice of an arm's consensus on slices of the first head that nothing is learned from,
    after a brief training with the first seed."""
    learn = annotated("mni", settings.lesions, settings.side, trial.seeds[0], "learn")
    judged = annotated("mni", settings.judging, settings.side, CHOICE_SEED, "choose")

    def score(rate: float) -> float:
        learner = arm(name, settings.choosing, rate, settings.smaller)
        fitted = trial.train(
            f"{name}, rate {rate:g}", lambda run: fit(learner, learn, run, settings.smaller), trainings=1
        )
        drawn = masks_of(learner, fitted, judged.image, trial.run(64, trial.seeds[0]))
        return float(mean_dice(drawn, judged, CONSENSUS).mean())

    return {rate: score(rate) for rate in (CHOICE if settings.choosing else ())}


def measure(settings: Settings, trial: Trial) -> None:
    """Train every arm on one head and judge it on the other."""
    side, found = settings.side, trial.found
    learn = annotated("mni", settings.lesions, side, trial.seed, "learn")
    test = trial.once("test", lambda: annotated("colin", settings.pictures, side, TEST_SEED, "all"))
    shown: dict[str, Tensor] = {}
    parameters = found.samples["parameters"] = dict[str, int]()
    tried = found.samples["rates"] = dict[str, dict[float, float]]()
    for name in (*settings.arms, PLAIN):
        scores = tried[name] = trial.once(("rates", name), lambda name=name: rates(settings, trial, name))
        rate = max(scores, key=scores.__getitem__) if scores else None
        learner = arm(name, settings.updates, rate, settings.smaller)
        fitted = trial.train(name, lambda run, learner=learner: fit(learner, learn, run, settings.smaller))
        parameters[name] = sum(p.numel() for p in fitted.network.parameters())
        drawn = shown[name] = masks_of(learner, fitted, test.image, trial.run(64))
        if name == PLAIN:
            middle = drawn[:, CONSENSUS // 2, None]
            found.add(DICE, PLAIN, mean_dice(middle, test, 1), at(1))
            found.add(ENERGY, PLAIN, distances(middle, test))
        else:
            for count in COUNTS:
                found.add(DICE, name, mean_dice(drawn, test, count), at(count))
        called = CUTS if name == PLAIN else name
        found.add(ENERGY, called, distances(drawn, test))
        found.add(FOLLOWS, called, correlation(merge(drawn).variance[:, 0], test.variance))
    ours, cuts = (merge(shown[name]) for name in (settings.arms[0], PLAIN))
    rows = torch.linspace(0, len(test) - 1, min(8, len(test))).long().tolist()
    trial.section.pictures(
        ["picture", "sample 1", "sample 2", "sample 3", "mean", "variance", "annotators' variance",
         "annotators' mean", PLAIN, "its cuts' variance"],
        [
            [test.image[i], *(ours.samples[i, :3] > 0.5), Heat(ours.mean[i], high=1.0),
             Heat(ours.variance[i], high=1 / 3), Heat(test.variance[i], high=1 / 3),
             Heat(test.masks[i].float().mean(0), high=1.0), cuts.labels[i] > 0,
             Heat(cuts.variance[i], high=1 / 3)]
            for i in rows
        ],
        [f"test {i}" for i in rows],
        caption="At even places of the test pictures: not selected. Mean and variance are of nine samples; "
        "brighter is larger, and all variances have one scale.",
    )  # fmt: skip


def no_worse(found: Comparison) -> Bound:
    """That a difference is not below 0 by the margin or more."""
    return Bound(f"{found}, above -{MARGIN}", found.low > -MARGIN, found.mean)


def follows(results: Results[Settings], name: str, required: bool) -> list[Bound]:
    """How well an arm's variance follows the annotators', over pictures and over trainings."""
    rows = results.rows(FOLLOWS, name)
    ends = {"pictures": student_interval(rows.mean(0))}
    if len(rows) > 1:
        ends["trainings"] = student_interval(rows.mean(1))
    mean = float(rows.mean())
    return [
        Bound(
            f"{FOLLOWS}, {name}, over {over}: {mean:.3f} [{low:.3f}, {high:.3f}]", low > LEAST, mean, required
        )
        for over, (low, high) in ends.items()
    ]


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule at the head of this file."""
    ours, *others = results.settings.arms
    nine = DICE, ours, at(CONSENSUS)

    def both(what: str, mine: Key, other: Key, required: bool = True) -> list[Comparison]:
        over = results.compare(f"{what}, over pictures", mine, other, required)
        return [over, *results.compare_trainings(f"{what}, over trainings", mine, other, required)]

    found: list[Condition] = [*both(f"{DICE} of {CONSENSUS} masks against 1", nine, (DICE, ours, at(1)))]
    for other in others:
        found += both(f"{DICE} against {other}", nine, (DICE, other, at(CONSENSUS)))
    found += map(no_worse, both(f"{DICE} against the {PLAIN}", nine, (DICE, PLAIN, at(1))))
    for other in (PLAIN, CUTS):
        found += both(f"{ENERGY} against the {other}", (ENERGY, ours), (ENERGY, other), other == PLAIN)
    return [*found, *follows(results, ours, True), *follows(results, CUTS, False)]


def updates(results: Results[Settings]) -> dict[str, int]:
    """How long each arm was trained, in its own updates."""
    arms = results.first["parameters"]
    return {name: arm(name, results.settings.updates).training.steps for name in arms}


def extra(results: Results[Settings]) -> dict[str, Any]:
    """The size and training of every network."""
    return {"updates": updates(results), **{k: results.first[k] for k in ("parameters", "rates")}}


def show(section: Section, results: Results[Settings]) -> None:
    """Dice over the number of samples, and what each network cost."""
    section.curve(
        {
            name: (COUNTS, [results.mean(DICE, name, at(1 if name == PLAIN else n)) for n in COUNTS])
            for name in results.arms(DICE)
        },
        "samples merged",
        DICE,
        "Mean over test pictures and seeds. The plain network means one mask; its line is level.",
    )
    seconds = {name: sum(took) / len(took) for name, took in results.training_seconds.items()}
    section.table(
        ["arm", "parameters", "updates", "cost of one", "seconds of training", *(f"{r:g}" for r in CHOICE)],
        [
            [name, results.first["parameters"][name], count, COSTS[name], seconds[name],
             *(results.first["rates"][name].values() or "-" * len(CHOICE))]
            for name, count in updates(results).items()
        ],
        "Every arm has the time that the plain U-Net takes for its updates. Last, Dice of brief trainings at "
        "each learning rate, on slices for choosing.",
    )  # fmt: skip


def mask_claim(method: str, title: str, statement: str, arms: tuple[str, ...]) -> Claim[Settings]:
    """The claim of one of the two methods; the first of its arms is its own."""
    full = Settings(arms)
    return Claim(
        method,
        title,
        "Soft lesions in slices of a head that no arm learned from, each outlined by four annotators. Each "
        "mask is drawn anew from noise; nine are averaged. Masks of the first seed.",
        unit="picture",
        tiny=replace(full, updates=2, choosing=1, side=8, lesions=6, pictures=3, judging=2, smaller=True),
        quick=Settings(arms[:1], 50, 0, pictures=12),
        full=full,
        measures={
            DICE: Measure(
                "larger",
                "To the majority of the annotators, with so many samples merged, averaged over groups.",
            ),
            ENERGY: Measure("smaller", "Between an arm's masks and those of the annotators, by 1 - IoU."),
            FOLLOWS: Measure("larger", "Of the pixels of each picture."),
        },
        measure=measure,
        rule=rule,
        show=show,
        extra=extra,
        statement=statement,
        quick_seeds=1,
        quick_proves=False,
    )
