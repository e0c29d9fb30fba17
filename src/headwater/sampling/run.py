"""How a piece of work is carried out: seed, batch size, device, progress. Never what it computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from headwater.noise import Noise, Stream, White, derive

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """Settings that leave the result of a sample unchanged, and the seed it depends on.

    Every draw is a pure function of (seed, purpose, sample index): batch size and order do not matter.
    """

    seed: int = 0
    batch: int = 32
    """Samples per network call."""
    device: str = "cpu"
    progress: bool = True
    """Show a progress bar for work of over two seconds."""
    first: int = 0
    """Index of the first sample of this call among all samples of the work."""
    keep: Path | None = None
    """Folder for the checkpoints of long work, which goes on from there; None keeps none."""

    def stream(self, n: int, law: Noise | None = None, purpose: int = 0) -> Stream:
        """Noise for samples first .. first + n - 1; `purpose` separates unrelated uses of one seed."""
        indices = range(self.first, self.first + n)
        return (law or White()).stream([derive(self.seed, purpose, i) for i in indices])

    def chunks(self, n: int) -> Iterator[tuple[slice, Run]]:
        """Slices of at most `batch` samples, each with the run that numbers its samples rightly."""
        for start in range(0, n, self.batch):
            rows = slice(start, min(start + self.batch, n))
            yield rows, replace(self, first=self.first + start)

    def under(self, name: str) -> Run:
        """The same for one part of the work, which keeps its checkpoints in a folder of its own."""
        return self if self.keep is None else replace(self, keep=self.keep / name)

    def watch(self, steps: Iterable[T], total: int | None = None, what: str = "") -> Iterator[T]:
        """Pass the steps on, under a progress bar that appears after two seconds."""
        length = len(steps) if total is None and isinstance(steps, Sequence) else total
        yield from tqdm(steps, total=length, desc=what or None, delay=2, disable=not self.progress)
