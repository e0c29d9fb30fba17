"""Which block of a prior at which timestep knows most: classifiers of one block, and clusters of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from headwater.errors import need
from headwater.methods.base import Images, Labels
from headwater.methods.segmentation.ddpm_segmentation.classifiers import predict
from headwater.methods.segmentation.ddpm_segmentation.features import read_features, shared_noise
from headwater.methods.segmentation.ddpm_segmentation.method import DDPMSegmentation
from headwater.models import Prior
from headwater.noise import Purpose, derive
from headwater.sampling import Run


def block_step_grid(
    method: DDPMSegmentation,
    prior: Prior,
    learn: tuple[Images, Labels],
    judge: tuple[Images, Labels],
    steps: Sequence[int],
    blocks: Sequence[int],
    run: Run,
) -> Tensor:
    """Mean IoU of classifiers that read one block at one step: float64 (blocks, steps), blocks ascending.

    learn, judge: images (N, C, H, W) with label maps (N, H, W), to fit on and to measure on. `method` gives
    all settings but steps and blocks; fewer classifiers and passes than for a result will do.
    The paper's figure of blocks against steps (Baranchuk et al. 2022, sec. 3).
    """
    blocks = sorted(set(blocks))
    size = (judge[1].shape[-2], judge[1].shape[-1])
    noise = shared_noise(prior, learn[0], run)
    grid = torch.zeros(len(blocks), len(steps), dtype=torch.float64)
    for column, step in run.track(list(enumerate(steps)), "blocks and steps"):
        pairs = (read_features(prior, image, [step], blocks, noise, run) for image in (learn[0], judge[0]))
        for row, (fitted_on, judged_on) in enumerate(zip(*pairs, strict=True)):
            ensemble = method.fit_maps([fitted_on], learn[1], replace(run, progress=False))
            labels = predict(ensemble, [judged_on], size).labels
            grid[row, column] = method.evaluate(labels.cpu(), judge[1])["miou"]
    return grid


def feature_clusters(prior: Prior, image: Images, step: int, block: int, k: int, run: Run) -> Labels:
    """k-means clusters of one block's features over all images: int64 (N, h, w) at the block's resolution.

    No label is used: what clusters show, the prior has found by itself (Baranchuk et al. 2022, sec. 3).
    """
    need(k >= 1, f"k is {k}: ask for at least one cluster")
    noise = shared_noise(prior, image, run)
    (found,) = read_features(prior, image, [step], [block], noise, run)
    rows = found.permute(0, 2, 3, 1)
    generator = torch.Generator().manual_seed(derive(run.seed, Purpose.CLUSTERS))
    return kmeans(rows.flatten(0, 2).cpu(), k, generator).view(rows.shape[:3])


def kmeans(points: Tensor, k: int, generator: torch.Generator, rounds: int = 50) -> Tensor:
    """Clusters of points (N, D), int64 (N,): k-means++ seeding, then Lloyd's rounds until nothing moves.

    Numbered by size, the largest 0. Source: Arthur and Vassilvitskii 2007.
    """
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    for _ in range(k - 1):
        near = torch.cdist(points, centres).amin(1).square()
        if not near.any():
            break
        centres = torch.cat([centres, points[torch.multinomial(near, 1, generator=generator)]])
    cluster = torch.full((len(points),), -1)
    for _ in range(rounds):
        before, cluster = cluster, torch.cdist(points, centres).argmin(1)
        if torch.equal(before, cluster):
            break
        sums = torch.zeros_like(centres).index_add_(0, cluster, points)
        counts = cluster.bincount(minlength=len(centres))[:, None]
        # A centre that lost all its points stays where it is.
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    order = cluster.bincount(minlength=len(centres)).argsort(descending=True, stable=True)
    return order.argsort()[cluster]
