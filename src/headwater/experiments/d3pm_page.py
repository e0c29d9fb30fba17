"""What D3PM's claim shows: texts first, then bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headwater.experiments.base import Outcome
from headwater.metrics.statistics import summarize
from headwater.report import Estimate, Page


@dataclass
class Figures:
    """What the runs found: per arm and seed, one number per test window."""

    seeds: tuple[int, ...]
    T: int
    text: dict[str, list[list[float]]] = field(default_factory=dict)
    written: dict[str, list[str]] = field(default_factory=dict)
    completed: list[tuple[str, str, str]] = field(default_factory=list)
    """Text with holes, what was written into it, and what was there."""
    ngram: list[float] = field(default_factory=list)
    order: int = 0
    unigram: list[float] = field(default_factory=list)

    def mean(self, values: Sequence[float]) -> float:
        return float(np.mean(values))

    def means(self, arms: Mapping[str, list[list[float]]]) -> dict[str, list[float]]:
        """Mean of each seed."""
        return {name: [self.mean(v) for v in per_seed] for name, per_seed in arms.items()}


def show(page: Page, figures: Figures, outcome: Outcome, settings: Mapping[str, Any]) -> None:
    """Add the claim's section."""
    section = page.section(
        "Texts written and completed: D3PM",
        "The same networks, trained for the same time, undo different kinds of random edits.",
    )
    section.table(
        ["given", "written", "truth"],
        [[_shown(cell) for cell in row] for row in figures.completed],
        caption="Test texts with letters taken out (_), completed by the absorbing chain.",
    )
    section.table(
        ["chain", "a text from nothing"],
        [[name, _shown(text)] for name, texts in figures.written.items() for text in texts[:2]],
        caption=f"{figures.T} characters each; ¶ ends a verse. At a quarter: {figures.T // 4} steps.",
    )
    rows: list[list[object]] = [
        [name, figures.T // 4 if name.endswith("quarter") else figures.T, _estimate(per_seed)]
        for name, per_seed in figures.text.items()
    ]
    rows.append([f"{figures.order}-grams, Witten-Bell", None, figures.mean(figures.ngram)])
    rows.append(["single characters", None, figures.mean(figures.unigram)])
    section.table(
        ["model", "steps", "bits per character"],
        rows,
        caption="Mean and standard deviation over seeds on test windows; the chains' figures are upper "
        "bounds. No model sees the text before a window.",
        best={"bits per character": "min"},
        decimals={"bits per character": 3},
    )
    section.settings(settings)
    section.claim(outcome.claim, outcome.measured, outcome.verdict)


def _shown(text: str) -> str:
    return text.replace("\n", "¶")


def _estimate(per_seed: list[list[float]]) -> Estimate | float:
    """Mean and spread over seeds; of one seed there is no spread."""
    found = summarize([float(np.mean(values)) for values in per_seed])
    return Estimate(found.mean, found.sd, found.n) if found.n > 1 else found.mean
