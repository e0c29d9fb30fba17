"""What claims of translation say of Frechet distances, which each seed leaves as a sample `frechet`."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.experiments.harness import Results
from headwater.report import Section


def distances(results: Results[Any]) -> dict[str, float]:
    """Frechet distance of each arm to other held-out pictures, the mean over seeds."""
    found = results.collect("frechet")
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def show_distances(section: Section, results: Results[Any], caption: str) -> None:
    """A table of them."""
    section.table(["pictures", "Frechet distance"], list(distances(results).items()), caption)
