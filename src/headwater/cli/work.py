"""Options that every working verb has, and how each is turned into objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.run import Run


@dataclass(frozen=True, kw_only=True)
class Work:
    """How to work; nothing here changes the result of an item."""

    out: Path
    """Folder for the results; must be empty or new."""
    seed: int = 0
    """Decides every draw."""
    batch: int = 32
    """Items per network call."""
    device: str = "cpu"
    """cpu, cuda, mps ..."""
    overwrite: bool = False
    """Write into a folder that holds something already."""
    json: bool = False
    """Print the result as JSON."""

    def run(self, first: int = 0, progress: bool | None = None) -> Run:
        """These options for items from `first` on."""
        shown = not self.json if progress is None else progress
        return Run(self.seed, self.batch, self.device, shown, first)


def answer(machine: bool, sentence: str, values: dict[str, Any]) -> int:
    """Print the sentence, or the values as JSON; returns 0."""
    print(json.dumps(values, indent=2, default=str) if machine else sentence)
    return 0
