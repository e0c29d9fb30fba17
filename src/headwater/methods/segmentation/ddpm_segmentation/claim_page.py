"""The page of the DDPM-Seg claim: pictures, the grid of blocks and steps, clusters, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from headwater.data import Set
from headwater.experiments.base import Outcome
from headwater.methods.segmentation.ddpm_segmentation.pixel_classifier import Segmentation
from headwater.report import Cell, Classes, Estimate, Heat, Page, Series

DDPM, RAW, UNTRAINED, PLAIN, SUPERVISED, DATASET = (
    "DDPM features",
    "raw pixels",
    "untrained features",
    "supervised, no augmentation",
    "supervised U-Net",
    "DatasetDDPM",
)


def results(page: Page, learn: Set, test: Set, found: Mapping[str, Segmentation]) -> None:
    """The labels given, and predictions from the most certain test picture to the least."""
    count = len(test.classes)
    section = page.section(
        "DDPM-Seg: parts from 20 labelled pictures",
        "All that was labelled is on the first sheet; the prior is frozen and never saw a label.",
    )
    pairs: list[Cell] = []
    for image, labels in zip(learn.images, labels_of(learn), strict=True):
        pairs += [image, Classes(labels, count)]
    section.contact_sheet(
        pairs, 10, caption=f"The labelled pictures of the first seed. Classes: {', '.join(test.classes)}."
    )
    ours = found[DDPM]
    rows: list[list[Cell]] = []
    order = ours.score.argsort()[torch.linspace(0, len(test) - 1, 6).long()].tolist()
    top = float(ours.uncertainty.max())
    truth = labels_of(test)
    for i in order:
        others = [Classes(found[name].labels[i], count) for name in found if name != DDPM]
        doubt = Heat(ours.uncertainty[i], high=top)
        mine = Classes(ours.labels[i], count)
        rows.append([test.images[i], mine, doubt, *others, Classes(truth[i], count)])
    section.pictures(
        ["picture", DDPM, "uncertainty", *(n for n in found if n != DDPM), "truth"],
        rows,
        [f"rank {int(r) + 1}" for r in torch.linspace(0, len(test) - 1, 6)],
        caption="Test pictures from the most certain to the least, at even ranks: not selected.",
    )


def grid(page: Page, values: Tensor, curve: Tensor, steps: Sequence[int]) -> None:
    """Mean IoU by block and step, and the curve over blocks."""
    section = page.section(
        "DDPM-Seg: where the knowledge sits",
        "Classifiers that read one block at one noise level, judged on pool pictures, not on the test split.",
    )
    blocks = [f"block {b}" for b in range(len(values))]
    section.heatmap(
        values, blocks, [f"t {t}" for t in steps], "Mean IoU; block 0 is the deepest.", "block, step", 3
    )
    section.curve(
        [Series("small noise", list(range(len(curve))), curve.tolist())],
        "decoder block, deepest first",
        "mean IoU",
        "Mean over the small steps. The paper finds the maximum inside the decoder.",
    )


def clusters(page: Page, image: Tensor, maps: Mapping[str, Tensor]) -> None:
    """Clusters of features, found without any label."""
    section = page.section(
        "DDPM-Seg: what the prior has found by itself",
        "k-means with 5 clusters on the features of one block at one step, over 32 test pictures at once.",
    )
    rows: list[list[Cell]] = [
        [image[i], *(Classes(found[i], 5) for found in maps.values())] for i in range(min(4, len(image)))
    ]
    section.pictures(
        ["picture", *maps],
        rows,
        caption="Each column has its own colours. Deep blocks give coarse regions, late ones follow edges.",
    )


def table(
    page: Page, scores: Mapping[str, Sequence[float]], wrong: Tensor, score: Tensor, answer: Outcome
) -> None:
    """Arms against each other, the use of the uncertainty, the verdict."""
    section = page.section("DDPM-Seg: the claim in numbers")
    section.table(
        ["what is read", "test mean IoU"],
        [[name, Estimate.of(values) if len(values) > 1 else values[0]] for name, values in scores.items()],
        "Mean and standard deviation over seeds: each draws other labelled pictures and weights. Raw pixels "
        "come with their coordinates; untrained features are the same network's with fresh weights. "
        "The supervised U-Net sees its pictures mirrored, shifted and hue-turned; the classifiers do not.",
        best={"test mean IoU": "max"},
    )
    sure = wrong[score.argsort()]
    kept = [max(1, round(len(sure) * share / 10)) for share in range(1, 11)]
    lucky = wrong.sort().values
    section.curve(
        [
            Series(
                "most certain first", [k / len(sure) for k in kept], [float(sure[:k].mean()) for k in kept]
            ),
            Series("by true error", [k / len(sure) for k in kept], [float(lucky[:k].mean()) for k in kept]),
        ],
        "share of pictures kept",
        "wrong pixels",
        "Error of the pictures kept when the most uncertain are set aside; the lower line knows the truth.",
    )
    section.claim(answer.claim, answer.measured, answer.verdict)


def labels_of(found: Set) -> Tensor:
    """The label maps of a set that has some."""
    if found.labels is None:
        raise ValueError(f"{found.name} has no label maps: choose another set")
    return found.labels
