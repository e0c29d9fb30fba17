"""Do a prior's inner features segment from 20 labelled pictures better than other features and than
supervised training, and do the middle blocks and small noise know most? (Baranchuk et al. 2022, sec. 3, 4)

Task: each stroke pixel of a handwritten digit is labelled with the digit that it belongs to, everything else
with background. What a pixel is cannot be read from its surroundings: the whole digit has to be known. Each
seed labels 20 training pictures, two of each digit, and draws its own weights. The prior knows the training
pictures without their labels, and no test picture. Nothing is chosen on the test split: blocks were chosen
on training pictures.

Required on test pictures: more mean IoU than raw pixels with their coordinates, than features of the
untrained network, and than a supervised U-Net of the same size whose pictures are shifted, each with a 95 %
interval over the draws above 0 (at the only draw of a quick run: more); the best block is neither the first
nor the last; the best block at small noise beats the best at large noise; and uncertainty ranks pictures by
their error, with a correlation above 0.3. Shown beside: a U-Net trained twice as long, and, as a task that
tests no prior, the parts of emoji in hues turned at random: there colour and place give the classes away, and
features of the untrained network do as well.

A first version of the claim was about the emoji alone. This rule was written when two runs on digits had been
seen, and blocks and steps on training pictures, but before any figure of this claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from headwater.data import Set
from headwater.experiments.comparison import Bound, Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.segmentation.ddpm_segmentation.method import (
    DDPMSegmentation,
    Segmentation,
    block_step_grid,
    depth,
    feature_clusters,
    predict,
)
from headwater.methods.segmentation.shared.label_tasks import DIGITS, EMOJI, Pair, Task, pair
from headwater.methods.segmentation.shared.supervised import SupervisedUNet, course
from headwater.metrics.statistics import spearman
from headwater.models import Prior
from headwater.report import Cell, Classes, Heat, Section
from headwater.sampling import Run

OURS, RAW, UNTRAINED = "DDPM features", "raw pixels", "untrained features"
SUPERVISED, LONGER = "supervised U-Net", "supervised, twice as long"
MIOU, MIOU_EMOJI = "mean IoU", "mean IoU on emoji parts"
RANK = "rank correlation of uncertainty and error"
SMALL, LARGE = 250, 600
"""Steps up to the first count as small noise, from the second on as large."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: DDPMSegmentation
    supervised: SupervisedUNet | None
    """What must be beaten; None leaves it out where there is no time to train it."""
    grid_method: DDPMSegmentation
    """Classifiers of the grid of blocks and steps."""
    grid_steps: tuple[int, ...]
    grid_pictures: int
    """Training pictures on which the grid is measured."""
    emoji: int = 0
    """Seeds that label the parts of emoji too."""
    emoji_blocks: tuple[int, ...] = (1, 2, 3, 4)
    labelled: int = 20
    tested: int = 400
    """Test pictures at even places, at most."""


METHOD = DDPMSegmentation(blocks=(0, 1, 2, 3), smallest=3)
"""The paper's settings, but for blocks of a network of six and slips that suit 32 x 32 pixels."""
QUICK = Settings(
    method=replace(METHOD, ensemble=3, pixels=128, epochs=4),
    supervised=None,
    grid_method=replace(METHOD, ensemble=1, pixels=128, epochs=2),
    grid_steps=(50, 250, 800),
    grid_pictures=30,
    tested=60,
)
FULL = Settings(
    method=METHOD,
    supervised=SupervisedUNet(course(200), mirror=False, hue=False),
    grid_method=replace(METHOD, ensemble=1, pixels=128, epochs=6),
    grid_steps=(20, 50, 150, 250, 400, 600, 800),
    grid_pictures=60,
    emoji=3,
)


def with_coordinates(image: Tensor) -> Tensor:
    """The image with each pixel's row and column in [-1, 1] as two more channels."""
    n, _, height, width = image.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.cat([image, torch.stack([y, x]).expand(n, -1, -1, -1)], 1)


def segmented(
    settings: Settings, prior: Prior, learn: Pair, image: Tensor, run: Run, longer: bool
) -> tuple[Segmentation, dict[str, Tensor]]:
    """Our answer in full, and the label maps of every arm, fitted on `learn` and applied to `image`."""
    method = settings.method
    ours = method.apply(prior, image, method.fit(prior, *learn, **run), **run)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        fresh = replace(prior, network=prior.config.build_network().eval())
    untrained = method.apply(fresh, image, method.fit(fresh, *learn, **run), **run)
    ensemble = method.fit_maps([with_coordinates(learn[0])], learn[1], run)
    raw = predict(ensemble, [with_coordinates(image)], image.shape[-2:])
    found = {OURS: ours.labels, UNTRAINED: untrained.labels, RAW: raw.labels}
    if settings.supervised is not None:
        unet = settings.supervised
        twice = replace(unet, training=replace(unet.training, steps=2 * unet.training.steps))
        for name, arm in {SUPERVISED: unet, **({LONGER: twice} if longer else {})}.items():
            fitted = arm.fit(prior.config.network, *learn, **run.child(name))
            found[name] = fitted.predict(image, **run)
    return ours, found


def measure(settings: Settings, trial: Trial) -> None:
    """Fit every arm on the same 20 pictures, and measure it on the test split; the first seed also fits
    classifiers to every block at every step."""
    run, first = trial.run(), trial.index == 0
    for name in (DIGITS, EMOJI) if trial.index < settings.emoji else (DIGITS,):
        prior = trial.once(name, lambda name=name: Prior.from_pretrained(name))
        task = trial.once((name, "task"), lambda n=name, p=prior: Task.of(n, p.shape[-1]))
        own = settings
        if name == EMOJI:
            blocks = replace(settings.method, blocks=settings.emoji_blocks)
            own = replace(settings, method=blocks, supervised=None)
        n = min(len(task.test), settings.tested)
        test = task.test.select(torch.linspace(0, len(task.test) - 1, n).long())  # digits lie in order
        drawn = task.draw(settings.labelled, settings.grid_pictures, trial.seed)
        learn, judge, (image, truth) = (pair(some) for some in (*drawn, test))
        ours, labels = segmented(own, prior, learn, image, run, first)
        for arm, found in labels.items():
            of = MIOU if name == DIGITS else MIOU_EMOJI
            trial.found.add(of, arm, [own.method.evaluate(found, truth)["miou"]])
        wrong = (ours.labels != truth).flatten(1).double().mean(1)
        if name == DIGITS:
            trial.found.add(RANK, OURS, [spearman(ours.score.numpy(), wrong.numpy())])
        if first:
            draw_labels(trial.section, learn, test, ours, {**labels, "truth": truth})
        if first and name == DIGITS:
            draw_errors(trial.section, ours.score, wrong)
            grid = study_blocks(settings, trial.section, prior, learn, judge, image, run)
            trial.found.samples["grid"] = grid


def draw_labels(
    section: Section, learn: Pair, test: Set, ours: Segmentation, labels: Mapping[str, Tensor]
) -> None:
    """The labels given, and predictions from the most certain test picture to the least."""
    classes, top = len(test.classes), float(ours.uncertainty.max())
    given = [cell for image, map_ in zip(*learn, strict=True) for cell in (image, Classes(map_, classes))]
    caption = f"The labelled pictures of the first seed. Classes: {', '.join(test.classes)}."
    section.contact_sheet(given, 10, caption=caption)
    ranks, rows = torch.linspace(0, len(test) - 1, min(6, len(test))).long(), list[list[Cell]]()
    for i in ours.score.argsort()[ranks].tolist():
        mine, *others = (Classes(maps[i], classes) for maps in labels.values())
        rows.append([test.images[i], mine, Heat(ours.uncertainty[i], high=top), *others])
    section.pictures(
        ["picture", OURS, "uncertainty", *list(labels)[1:]],
        rows,
        [f"rank {int(r) + 1}" for r in ranks],
        caption="Test pictures from the most certain to the least, at even ranks: not selected.",
    )


def draw_errors(section: Section, score: Tensor, wrong: Tensor) -> None:
    """What setting the uncertain pictures aside would gain."""
    counts = [max(1, round(len(wrong) * share / 10)) for share in range(1, 11)]
    shares = [k / len(wrong) for k in counts]
    orders = {"most certain first": wrong[score.argsort()], "by true error": wrong.sort().values}
    section.curve(
        {name: (shares, [float(v[:k].mean()) for k in counts]) for name, v in orders.items()},
        "share of pictures kept",
        "wrong pixels",
        "Error of the pictures kept when the most uncertain are set aside; the lower line is the true order.",
    )


def study_blocks(
    settings: Settings, section: Section, prior: Prior, learn: Pair, judge: Pair, image: Tensor, run: Run
) -> Tensor:
    """Mean IoU by block and step, and clusters of features that were found without any label."""
    blocks, steps = list(range(depth(prior))), settings.grid_steps
    grid = block_step_grid(settings.grid_method, prior, learn, judge, steps, blocks, run)
    section.note(
        "Where the knowledge sits: classifiers that read one block at one noise level, judged on "
        "training pictures, not on the test split."
    )
    names, columns = [f"block {b}" for b in blocks], [f"t {t}" for t in steps]
    section.heatmap(grid, names, columns, "Mean IoU; block 0 is the deepest.", "block, step", 3)
    section.curve(
        {"small noise": (blocks, block_curve(grid, steps))},
        "decoder block, deepest first",
        "mean IoU",
        "Mean over the small steps. The paper finds the maximum inside the decoder.",
    )
    last = blocks[-1]
    places = [(b, t) for b in (last // 4, (last + 1) // 2, last) for t in (steps[0], steps[-1])]
    some = image[torch.linspace(0, len(image) - 1, min(32, len(image))).long()]
    clusters = [feature_clusters(prior, some, t, b, 5, run) for b, t in places]
    section.pictures(
        ["picture", *(f"block {b}, t {t}" for b, t in places)],
        [
            [some[i], *(Classes(found[i], 5) for found in clusters)]
            for i in range(0, len(some), len(some) // 4)
        ],
        caption="k-means with 5 clusters on the features of one block at one step, over 32 test pictures at "
        "once and without any label. Each column has its own colours.",
    )
    return grid


def block_curve(grid: Tensor, steps: Sequence[int], low: int = 0, high: int = SMALL) -> Tensor:
    """Mean IoU of each block over the timesteps in a range, (blocks,)."""
    return grid[:, [i for i, t in enumerate(steps) if low <= t <= high]].mean(1)


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule at the head of this file."""
    found = list[Condition]()
    for name in results.arms(MIOU):
        if name == OURS:
            continue
        ours, theirs = (MIOU, OURS), (MIOU, name)
        if name == LONGER:
            one = results.mean(*theirs)
            found.append(Bound(f"{one:.3f} of {name}, first draw", False, one, required=False))
        elif len(results.seeds) > 1:
            found += results.compare_trainings(f"{MIOU} against {name}", ours, theirs)
        else:
            gain = results.mean(*ours) - results.mean(*theirs)
            found.append(Bound(f"{MIOU} against {name}: {gain:+.3f}, one draw", gain > 0, gain))
    if results.settings.emoji:
        gain = results.mean(MIOU_EMOJI, OURS) - results.mean(MIOU_EMOJI, UNTRAINED)
        what = f"on emoji parts against {UNTRAINED}: {gain:+.3f}"
        found.append(Bound(what, gain > 0, gain, required=False))
    grid, steps = results.first["grid"], results.settings.grid_steps
    curve = block_curve(grid, steps)
    small, large = float(curve.max()), float(block_curve(grid, steps, LARGE, steps[-1]).max())
    best, end = int(curve.argmax()), len(curve) - 1
    rank = fmean(results.per_seed(RANK, OURS))
    return [
        *found,
        Bound(f"best block {best} of 0 to {end}", 0 < best < end, best),
        Bound(f"{small:.3f} at t <= {SMALL} against {large:.3f} at t >= {LARGE}", small > large),
        Bound(f"{RANK} {rank:.2f}, above 0.3", rank > 0.3, rank),
    ]


CLAIM = Claim(
    "ddpm-segmentation",
    "DDPM-Seg: which digit a stroke belongs to, from 20 labelled pictures",
    "All that was labelled is on the first sheet; the prior is frozen and never saw a label.",
    unit="draw of labelled pictures",
    tiny=replace(
        QUICK,
        method=replace(QUICK.method, blocks=(1, 2), ensemble=2, epochs=1, pixels=512),
        grid_method=replace(QUICK.grid_method, epochs=1, pixels=2048),
        supervised=SupervisedUNet(course(2), mirror=False, hue=False),
        grid_pictures=4,
        emoji=1,
        labelled=10,
        tested=8,
    ),
    quick=QUICK,
    full=FULL,
    measures={
        MIOU: Measure(
            "larger",
            "Over test pictures; each seed draws other labelled pictures and weights. Raw pixels come with "
            "their coordinates; untrained features are the same network's with fresh weights. The supervised "
            "U-Net sees its pictures shifted; the classifiers do not.",
        ),
        MIOU_EMOJI: Measure("larger", "No test of a prior: colour and place give the parts away."),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: {"grid": results.first["grid"].tolist()},
    statement="With 20 labelled pictures, DDPM features tell which digit a stroke belongs to better than raw "
    "pixels, features of the untrained network and a supervised U-Net of the same size; the best block lies "
    "inside; small t beats large t.",
    quick_seeds=1,
    quick_proves=False,
)
