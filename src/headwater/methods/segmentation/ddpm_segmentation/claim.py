"""Do a prior's inner features segment from 20 labelled pictures better than other features and than
supervised training, and do the middle blocks and small noise know most? (Baranchuk et al. 2022, sec. 3, 4)

Pictures: emoji made of parts, each with its hue turned at random, so that colour alone does not tell the
parts. The prior saw no test picture; labels come from the pool, and nothing is chosen on the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor

from headwater.baselines.supervised import SupervisedUNet, course
from headwater.core import DDIM, descend
from headwater.data import Set, load
from headwater.experiments.base import Outcome, Task
from headwater.methods.segmentation.ddpm_segmentation import claim_page as report
from headwater.methods.segmentation.ddpm_segmentation.claim_page import (
    DATASET,
    DDPM,
    PLAIN,
    RAW,
    SUPERVISED,
    UNTRAINED,
    labels_of,
)
from headwater.methods.segmentation.ddpm_segmentation.dataset_ddpm import label_samples
from headwater.methods.segmentation.ddpm_segmentation.decoder_features import depth
from headwater.methods.segmentation.ddpm_segmentation.feature_study import block_step_grid, feature_clusters
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation
from headwater.methods.segmentation.ddpm_segmentation.pixel_classifier import (
    Segmentation,
    image_uncertainty,
    predict,
)
from headwater.methods.segmentation.ddpm_segmentation.pixel_training import fit_pixels
from headwater.metrics.statistics import spearman
from headwater.models import Prior
from headwater.sampling import Run


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    method: DDPMSegmentation
    supervised: SupervisedUNet
    scout: DDPMSegmentation
    """Classifiers of the grid of blocks and steps."""
    grid_steps: tuple[int, ...]
    judged: int
    """Pool pictures on which the grid is measured."""
    seeds: int
    samples: int
    """Pictures drawn for DatasetDDPM, at the first seed only; 0 leaves it out."""
    judged_against: tuple[str, ...]
    """Arms that decide the verdict; one that was trained too briefly must not."""
    labelled: int = 20


METHOD = DDPMSegmentation(blocks=(1, 2, 3, 4), smallest=3)
"""The paper's settings, but for blocks that suit a network of six and slips that suit 32 x 32 pixels."""

FULL = Setting(
    method=METHOD,
    supervised=SupervisedUNet(course(600)),
    scout=replace(METHOD, ensemble=1, pixels=128, epochs=6),
    grid_steps=(20, 50, 150, 250, 400, 600, 800),
    judged=60,
    seeds=99,
    samples=300,
    judged_against=(RAW, UNTRAINED, PLAIN, SUPERVISED),
)
QUICK = Setting(
    method=replace(METHOD, ensemble=3, pixels=128, epochs=4),
    supervised=SupervisedUNet(course(120)),
    scout=replace(METHOD, ensemble=1, pixels=128, epochs=2),
    grid_steps=(50, 250, 800),
    judged=30,
    seeds=1,
    samples=0,
    judged_against=(RAW, UNTRAINED),
)

SMALL, LARGE = 250, 600
"""Steps up to the first count as small noise, from the second on as large."""


def reproduce(task: Task) -> Outcome:
    """Fit every arm on the same 20 pictures per seed, and measure it on the test split."""
    setting = QUICK if task.effort == "quick" else FULL
    prior = Prior.from_pretrained("emoji-parts")
    side = prior.shape[-1]
    pool, test = (load("emoji-parts-hue", split, side) for split in ("pool", "test"))
    seeds = task.seeds[: setting.seeds]
    scores: dict[str, list[float]] = {}
    correlations: list[float] = []
    first: dict[str, Segmentation] = {}
    for seed in seeds:
        learn, _ = draw(pool, setting, seed)
        here = setting if seed == seeds[0] else replace(setting, samples=0)
        found = arms(here, prior, learn, test.images, Run(seed, progress=task.progress))
        for name, result in found.items():
            truth = labels_of(test)
            scores.setdefault(name, []).append(setting.method.evaluate(result.labels, truth)["miou"])
        correlations.append(spearman(found[DDPM].score.numpy(), wrong(found[DDPM], test).numpy()))
        first = first or found
    learn, judge = draw(pool, setting, seeds[0])
    run = Run(seeds[0], progress=task.progress)
    blocks = list(range(depth(prior)))
    pairs = ((learn.images, labels_of(learn)), (judge.images, labels_of(judge)))
    grid = block_step_grid(setting.scout, prior, *pairs, setting.grid_steps, blocks, run)
    answer = conclude(scores, correlations, grid, setting)
    report.results(task.page, learn, test, first)
    report.grid(task.page, grid, block_curve(grid, setting.grid_steps), setting.grid_steps)
    clustered = test.select(torch.arange(32))
    report.clusters(task.page, clustered.images, cluster_maps(prior, clustered.images, setting, run))
    report.table(task.page, scores, wrong(first[DDPM], test), first[DDPM].score, answer)
    return answer


def draw(pool: Set, setting: Setting, seed: int) -> tuple[Set, Set]:
    """The labelled pictures of a seed, and other pool pictures to judge blocks and steps on."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    ends = (setting.labelled, setting.labelled + setting.judged)
    return pool.select(order[: ends[0]]), pool.select(order[ends[0] : ends[1]])


def arms(setting: Setting, prior: Prior, learn: Set, image: Tensor, run: Run) -> dict[str, Segmentation]:
    """Every way to segment, fitted on `learn` and applied to `image`."""
    method, truth = setting.method, labels_of(learn)
    fitted = method.fit(prior, learn.images, truth, **run)
    found = {DDPM: method.apply(prior, image, fitted, **run)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        fresh = replace(prior, network=prior.config.build_network().eval())
    found[UNTRAINED] = method.apply(fresh, image, method.fit(fresh, learn.images, truth, **run), **run)
    ensemble = fit_pixels(method, [with_coordinates(learn.images)], truth, run)
    size = (image.shape[-2], image.shape[-1])
    labels, uncertainty = predict(ensemble, [with_coordinates(image)], size)
    found[RAW] = Segmentation(labels, uncertainty, image_uncertainty(uncertainty))
    bare = replace(setting.supervised, mirror=False, shift=0, hue=False)
    plain = bare.fit(prior.config, learn.images, truth, **run)
    found[PLAIN] = _certain(plain.predict(image, **run))
    augmented = setting.supervised.fit(prior.config, learn.images, truth, **run)
    found[SUPERVISED] = _certain(augmented.predict(image, **run))
    if setting.samples:
        plan = descend(prior.process.T, 50)
        drawn = label_samples(prior, fitted, setting.samples, run, plan=plan, sampler=DDIM())
        taught = setting.supervised.fit(prior.config, drawn.image, drawn.labels, **run)
        found[DATASET] = _certain(taught.predict(image, **run))
    return found


def with_coordinates(image: Tensor) -> Tensor:
    """The picture with each pixel's row and column in [-1, 1] as two more channels."""
    n, _, height, width = image.shape
    y = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(n, 1, height, width)
    x = torch.linspace(-1, 1, width).view(1, 1, 1, width).expand(n, 1, height, width)
    return torch.cat([image, y, x], 1)


def conclude(
    scores: dict[str, list[float]], correlations: list[float], grid: Tensor, setting: Setting
) -> Outcome:
    """The verdict: every part of the claim, seed by seed where it compares arms."""
    ours = scores[DDPM]
    parts = {
        f"beats {name}": all(a > b for a, b in zip(ours, scores[name], strict=True))
        for name in setting.judged_against
    }
    small, large = noise_ends(grid, setting.grid_steps)
    curve = block_curve(grid, setting.grid_steps)
    parts["best block inside"] = 0 < int(curve.argmax()) < len(curve) - 1
    parts["small t beats large t"] = small > large
    parts["uncertainty follows error"] = fmean(correlations) > 0.3
    # One seed, or arms too briefly trained to be judged against, cannot carry the whole claim.
    complete = len(ours) >= 3 and SUPERVISED in setting.judged_against
    verdict: Literal["held", "partly", "not held"] = (
        "held" if complete and all(parts.values()) else "partly" if any(parts.values()) else "not held"
    )
    against = ", ".join(f"{fmean(scores[n]):.3f} {n}" for n in (RAW, UNTRAINED, PLAIN, SUPERVISED))
    brief = "" if SUPERVISED in setting.judged_against else " (trained too briefly to be judged against)"
    over = f"{len(ours)} seeds" if len(ours) > 1 else "1 seed"
    return Outcome(
        method="ddpm-segmentation",
        claim="With 20 labelled pictures, DDPM features beat raw pixels, features of the untrained network "
        "and a supervised U-Net of the same size; the best block lies inside; small t beats large t.",
        measured=f"Mean IoU {fmean(ours):.3f} against {against}{brief}, over {over}; best block "
        f"{int(curve.argmax())} of 0 to {len(curve) - 1}; {small:.3f} at t <= {SMALL}, {large:.3f} at t >= "
        f"{LARGE}; rank correlation of uncertainty and error {fmean(correlations):.2f}.",
        verdict=verdict,
        metrics={
            "miou": scores,
            "uncertainty_error_spearman": correlations,
            "grid": grid.tolist(),
            "parts": parts,
        },
        settings={
            "labelled": setting.labelled,
            "steps": list(setting.method.steps),
            "blocks": list(setting.method.blocks),
            "ensemble": setting.method.ensemble,
            "supervised_steps": setting.supervised.training.steps,
            "grid_steps": list(setting.grid_steps),
        },
    )


def block_curve(grid: Tensor, steps: Sequence[int]) -> Tensor:
    """Mean IoU of each block over the small steps, (blocks,)."""
    return grid[:, [i for i, t in enumerate(steps) if t <= SMALL]].mean(1)


def noise_ends(grid: Tensor, steps: Sequence[int]) -> tuple[float, float]:
    """Best block's mean IoU over small and over large steps."""
    ends = [[i for i, t in enumerate(steps) if t <= SMALL], [i for i, t in enumerate(steps) if t >= LARGE]]
    small, large = (float(grid[:, columns].mean(1).max()) for columns in ends)
    return small, large


def wrong(found: Segmentation, test: Set) -> Tensor:
    """Share of wrong pixels of each picture, (B,)."""
    return (found.labels != labels_of(test)).flatten(1).double().mean(1)


def cluster_maps(prior: Prior, image: Tensor, setting: Setting, run: Run) -> dict[str, Tensor]:
    """k-means clusters, k = 5, of a deep, a middle and the last block at the least and the most noise."""
    last = depth(prior) - 1
    places = [
        (b, t)
        for b in (last // 4, (last + 1) // 2, last)
        for t in setting.grid_steps[:: len(setting.grid_steps) - 1]
    ]
    return {f"block {b}, t {t}": feature_clusters(prior, image, t, b, 5, run) for b, t in places}


def _certain(labels: Tensor) -> Segmentation:
    """Labels of a network that states no uncertainty."""
    return Segmentation(labels, torch.zeros(len(labels), 1, *labels.shape[1:]), torch.zeros(len(labels)))
