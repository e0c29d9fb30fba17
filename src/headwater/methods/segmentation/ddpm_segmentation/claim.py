"""Do a prior's inner features segment from 20 labelled pictures better than other features and than
supervised training, and do the middle blocks and small noise know most? (Baranchuk et al. 2022, sec. 3, 4)

Pictures: emoji made of parts, each with its hue turned at random, so that colour alone does not tell the
parts. The prior saw no test picture; labels come from the pool, and nothing is chosen on the test split.
Required: in every seed more mean IoU than each arm that was trained long enough to be judged against; the
best block is neither the first nor the last; the best block at small noise beats the best at large noise;
and uncertainty ranks pictures by their error, with a correlation above 0.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import cast

import torch
from torch import Tensor

from headwater.baselines.supervised import SupervisedUNet, course
from headwater.core import DDIM, descend
from headwater.data import Set, load
from headwater.experiments.comparison import Bound
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.segmentation.ddpm_segmentation.method import (
    DDPMSegmentation,
    Segmentation,
    block_step_grid,
    depth,
    feature_clusters,
    label_samples,
    predict,
)
from headwater.metrics.statistics import spearman
from headwater.models import Prior
from headwater.report import Cell, Classes, Heat, Section
from headwater.sampling import Run

Pair = tuple[Tensor, Tensor]
"""Images and their label maps."""
OURS, RAW, UNTRAINED = "DDPM features", "raw pixels", "untrained features"
PLAIN, SUPERVISED, DATASET = "supervised, no augmentation", "supervised U-Net", "DatasetDDPM"
RANK = "rank correlation of uncertainty and error"
SMALL, LARGE = 250, 600
"""Steps up to the first count as small noise, from the second on as large."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: DDPMSegmentation
    supervised: SupervisedUNet
    grid_method: DDPMSegmentation
    """Classifiers of the grid of blocks and steps."""
    grid_steps: tuple[int, ...]
    grid_pictures: int
    """Pool pictures on which the grid is measured."""
    samples: int
    """Pictures drawn for DatasetDDPM, with the first seed only; 0 leaves it out."""
    judged_against: tuple[str, ...]
    """Arms that decide the verdict; one that was trained too briefly must not."""
    labelled: int = 20
    tested: int = 10_000
    """Test pictures, at most."""


METHOD = DDPMSegmentation(blocks=(1, 2, 3, 4), smallest=3)
"""The paper's settings, but for blocks that suit a network of six and slips that suit 32 x 32 pixels."""
QUICK = Settings(
    method=replace(METHOD, ensemble=3, pixels=128, epochs=4),
    supervised=SupervisedUNet(course(120)),
    grid_method=replace(METHOD, ensemble=1, pixels=128, epochs=2),
    grid_steps=(50, 250, 800),
    grid_pictures=30,
    samples=0,
    judged_against=(RAW, UNTRAINED),
)
FULL = Settings(
    method=METHOD,
    supervised=SupervisedUNet(course(600)),
    grid_method=replace(METHOD, ensemble=1, pixels=128, epochs=6),
    grid_steps=(20, 50, 150, 250, 400, 600, 800),
    grid_pictures=60,
    samples=300,
    judged_against=(RAW, UNTRAINED, PLAIN, SUPERVISED),
)


def draw(pool: Set, settings: Settings, seed: int) -> tuple[Set, Set]:
    """The labelled pictures of a seed, and other pool pictures to judge blocks and steps on."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    learn, judge = order[: settings.labelled], order[settings.labelled :][: settings.grid_pictures]
    return pool.select(learn), pool.select(judge)


def with_coordinates(image: Tensor) -> Tensor:
    """The image with each pixel's row and column in [-1, 1] as two more channels."""
    n, _, height, width = image.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.cat([image, torch.stack([y, x]).expand(n, -1, -1, -1)], 1)


def segmented(
    settings: Settings, prior: Prior, learn: Pair, image: Tensor, run: Run, samples: int
) -> tuple[Segmentation, dict[str, Tensor]]:
    """Our answer in full, and the label maps of every arm, fitted on `learn` and applied to `image`."""
    method = settings.method
    fitted = method.fit(prior, *learn, **run)
    ours = method.apply(prior, image, fitted, **run)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        fresh = replace(prior, network=prior.config.build_network().eval())
    untrained = method.apply(fresh, image, method.fit(fresh, *learn, **run), **run)
    ensemble = method.fit_maps([with_coordinates(learn[0])], learn[1], run)
    raw = predict(ensemble, [with_coordinates(image)], image.shape[-2:])
    found = {OURS: ours.labels, UNTRAINED: untrained.labels, RAW: raw.labels}
    augmented = settings.supervised
    plain = replace(augmented, mirror=False, shift=0, hue=False)
    arms = {PLAIN: (plain, learn), SUPERVISED: (augmented, learn)}
    if samples:
        drawn, answer = label_samples(prior, fitted, samples, descend(prior.process.T, 50), DDIM(), **run)
        arms[DATASET] = augmented, (drawn, answer.labels)
    for name, (unet, pairs) in arms.items():
        found[name] = unet.fit(prior.config.network, *pairs, **run.child(name)).predict(image, **run)
    return ours, found


def measure(settings: Settings, trial: Trial) -> None:
    """Fit every arm on the same 20 pictures, and measure it on the test split; the first seed also fits
    classifiers to every block at every step."""
    prior = trial.once("prior", lambda: Prior.from_pretrained("emoji-parts"))
    pool, test = (load("emoji-parts-hue", split, prior.shape[-1]) for split in ("pool", "test"))
    test = test.select(torch.arange(min(len(test), settings.tested)))
    learn, judge, (image, truth) = (pair(some) for some in (*draw(pool, settings, trial.seed), test))
    run, first = trial.run(), trial.index == 0
    ours, labels = segmented(settings, prior, learn, image, run, settings.samples if first else 0)
    for name, found in labels.items():
        trial.found.add("mean IoU", name, [settings.method.evaluate(found, truth)["miou"]])
    wrong = (ours.labels != truth).flatten(1).double().mean(1)
    trial.found.add(RANK, OURS, [spearman(ours.score.numpy(), wrong.numpy())])
    if first:
        draw_labels(trial.section, learn, test, ours, {**labels, "truth": truth})
        draw_errors(trial.section, ours.score, wrong)
        trial.found.samples["grid"] = study_blocks(settings, trial.section, prior, learn, judge, image, run)


def pair(found: Set) -> Pair:
    """The pictures of a set with their label maps."""
    return found.images, cast(Tensor, found.labels)


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
        "Where the knowledge sits: classifiers that read one block at one noise level, judged on pool "
        "pictures, not on the test split."
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
    clusters = [feature_clusters(prior, image[:32], t, b, 5, run) for b, t in places]
    section.pictures(
        ["picture", *(f"block {b}, t {t}" for b, t in places)],
        [[image[i], *(Classes(found[i], 5) for found in clusters)] for i in range(4)],
        caption="k-means with 5 clusters on the features of one block at one step, over 32 test pictures at "
        "once and without any label. Each column has its own colours.",
    )
    return grid


def block_curve(grid: Tensor, steps: Sequence[int], low: int = 0, high: int = SMALL) -> Tensor:
    """Mean IoU of each block over the timesteps in a range, (blocks,)."""
    return grid[:, [i for i, t in enumerate(steps) if low <= t <= high]].mean(1)


def rule(results: Results[Settings]) -> list[Bound]:
    """The rule at the head of this file, seed by seed where it compares arms."""
    ours, against = results.rows("mean IoU", OURS)[0], results.settings.judged_against
    found = list[Bound]()
    for name in (RAW, UNTRAINED, PLAIN, SUPERVISED):
        theirs, judged = results.rows("mean IoU", name)[0], name in against
        what = f"mean IoU {ours.mean():.3f} against {theirs.mean():.3f} of {name}"
        brief = "" if judged else " (trained too briefly to be judged against)"
        found.append(Bound(what + brief, bool((ours > theirs).all()), required=judged))
    grid, steps = results.first["grid"], results.settings.grid_steps
    curve = block_curve(grid, steps)
    small, large = float(curve.max()), float(block_curve(grid, steps, LARGE, steps[-1]).max())
    best, end = int(curve.argmax()), len(curve) - 1
    rank = fmean(results.rows(RANK, OURS)[0])
    return [
        *found,
        Bound(f"best block {best} of 0 to {end}", 0 < best < end, best),
        Bound(f"{small:.3f} at t <= {SMALL} against {large:.3f} at t >= {LARGE}", small > large),
        Bound(f"{RANK} {rank:.2f}, above 0.3", rank > 0.3, rank),
    ]


CLAIM = Claim(
    "ddpm-segmentation",
    "DDPM-Seg: parts from 20 labelled pictures",
    "All that was labelled is on the first sheet; the prior is frozen and never saw a label.",
    unit="draw of labelled picture",
    tiny=replace(
        QUICK,
        method=replace(QUICK.method, blocks=(1, 2), ensemble=2, epochs=1, pixels=512),
        grid_method=replace(QUICK.grid_method, epochs=1, pixels=2048),
        supervised=SupervisedUNet(course(4)),
        grid_pictures=4,
        samples=4,
        labelled=4,
        tested=8,
    ),
    quick=QUICK,
    full=FULL,
    measures={
        "mean IoU": Measure(
            "larger",
            "Over the test split; each seed draws other labelled pictures and weights. Raw pixels come with "
            "their coordinates; untrained features are the same network's with fresh weights. The supervised "
            "U-Net sees its pictures mirrored, shifted and hue-turned; the classifiers do not.",
        )
    },
    measure=measure,
    rule=rule,
    extra=lambda results: {"grid": results.first["grid"].tolist()},
    statement="With 20 labelled pictures, DDPM features beat raw pixels, features of the untrained network "
    "and a supervised U-Net of the same size; the best block lies inside; small t beats large t.",
    new_units=True,
    quick_seeds=1,
    quick_proves=False,
)
