"""The page of the claims of SegDiff and implicit ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from headwater.experiments.base import Outcome
from headwater.methods.segmentation.shared.mask_claim import CONSENSUS, COUNTS, Arm, Found
from headwater.methods.segmentation.shared.mask_claim_networks import COSTS, PLAIN
from headwater.report import Cell, Estimate, Heat, Page, Section, Series


def show(page: Page, title: str, found: Found, answer: Outcome, settings: Mapping[str, object]) -> None:
    """Pictures, the curve over samples, the table, the settings of the first arm, the verdict."""
    section = page.section(
        title,
        "The skin of emoji people in random hues. Each mask is drawn anew from noise; nine are averaged. "
        "Masks of the first seed.",
    )
    _pictures(section, found)
    lines = [
        Series(name, list(a.counts), [float(a.at(c).mean()) for c in a.counts])
        for name, a in found.arms.items()
        if name != PLAIN
    ]
    level = float(found.arms[PLAIN].settled().mean())
    section.curve(
        [*lines, Series(PLAIN, list(COUNTS), [level] * len(COUNTS))],
        "samples merged",
        "Dice",
        "Mean over test pictures and seeds. The plain network gives one mask; its line is level.",
    )
    section.table(
        ["arm", "parameters", "updates", "cost of one", "seconds of training", "Dice of 1",
         f"Dice of {CONSENSUS}"],
        [[name, a.parameters, a.updates, COSTS[name], _seconds(a), *_dices(a)]
         for name, a in found.arms.items()],
        "Mean and standard deviation over seeds. Every arm has the time that the plain U-Net takes for its "
        "updates; a network that ships was trained for as long beforehand.",
    )  # fmt: skip
    section.settings({**settings, "samples": max(COUNTS), **answer.settings})
    section.claim(answer.claim, answer.measured, answer.verdict)


def _pictures(section: Section, found: Found) -> None:
    ours, plain = (next(iter(found.arms.values())).first, found.arms[PLAIN].first)
    if ours is None or plain is None:
        return
    n = len(found.image)
    top = float(ours.variance.max()) or 1.0
    order = torch.linspace(0, n - 1, min(8, n)).long().tolist()
    rows: list[list[Cell]] = [
        [found.image[i], *(s > 0.5 for s in ours.samples[i, :2]), Heat(ours.mean[i], high=1.0),
         Heat(ours.variance[i], high=top), ours.labels[i] > 0, plain.labels[i] > 0, found.truth[i] > 0]
        for i in order
    ]  # fmt: skip
    section.pictures(
        ["picture", "sample 1", "sample 2", "mean", "spread", "mask", PLAIN, "truth"],
        rows,
        [f"test {i}" for i in order],
        caption="At even places of the test pictures: not selected. Mean, spread (variance) and mask are "
        "of nine samples; brighter is larger.",
    )


def _seconds(arm: Arm) -> object:
    return _spread(arm.seconds) if arm.seconds else "ships"


def _dices(arm: Arm) -> list[object]:
    """Cells of one and of nine samples; the baseline has one mask."""
    if len(arm.counts) == 1:
        return [_spread(arm.at(1).mean(1).tolist()), ""]
    return [_spread(arm.at(c).mean(1).tolist()) for c in (1, CONSENSUS)]


def _spread(values: Sequence[float]) -> object:
    return Estimate.of(values) if len(values) > 1 else values[0]
