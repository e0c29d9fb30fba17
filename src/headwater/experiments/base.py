"""What a claim needs to run, and what it answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headwater.experiments.comparison import Verdict
from headwater.methods.catalogue import entry
from headwater.report import Page
from headwater.sampling import Run

Effort = Literal["quick", "full"]
"""`quick` fits the tour (about a minute on two quiet cores); `full` is what a verdict rests on."""


@dataclass(frozen=True)
class Task:
    """One run of a claim."""

    page: Page
    """Where it adds its sections: pictures first, then curves and tables, then the verdict."""
    effort: Effort = "full"
    seeds: tuple[int, ...] = (0, 1, 2)
    progress: bool = True
    keep: Path | None = None
    """Folder for the networks that the claim trains: one that was stopped goes on from there."""

    def run(self, seed: int, batch: int = 32) -> Run:
        """How the part of one seed is carried out; who trains several networks names each by `child`."""
        keep = None if self.keep is None else self.keep / f"seed-{seed}"
        return Run(seed, batch, progress=self.progress, checkpoint_dir=keep)


def training_seconds(run: Run, since: float) -> float:
    """How long the training took that `run` has just done since a time.perf_counter(), or that lay finished
    or half finished in run.checkpoint_dir."""
    log = run.checkpoint_dir / "log.jsonl" if run.checkpoint_dir else None
    if log is None or not log.is_file():
        return time.perf_counter() - since
    return float(json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["seconds"])


@dataclass(frozen=True)
class Outcome:
    """What came out, in numbers."""

    method: str
    claim: str
    """The paper's claim, as tested."""
    measured: str
    """One sentence with the figures."""
    verdict: Verdict
    metrics: dict[str, Any]
    """Nested plain numbers: per arm and per seed, baselines included."""
    settings: dict[str, Any] = field(default_factory=dict)


Reproduce = Callable[[Task], Outcome]


def reproduction(name: str) -> Reproduce:
    """The claim of a method: `reproduce` of its room's claim.py. Raises UserError for no such method."""
    return entry(name).module("claim").reproduce
