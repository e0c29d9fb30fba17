"""How a piece of work is carried out: seed, batch size, device, progress. Never what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor

from headwater.noise import Noise, Stream, White, derive
from headwater.progress import track

T = TypeVar("T")

Key = Callable[[int, int], Sequence[int]]
"""(item, draw), both from 0 in this call -> the integers that, after the seed, number a sample's noise."""


def best_device() -> str:
    """The fastest kind of device that torch can work on here: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class RunOptions(TypedDict, total=False):
    """The fields of `Run` as keywords of `apply`, `fit` and `sample`."""

    seed: int
    batch_size: int
    device: str
    progress: bool
    first: int
    checkpoint_dir: Path | None


@dataclass(frozen=True)
class Run:
    """Settings that leave the result of a sample unchanged, and the seed it depends on.

    Every draw is a pure function of (seed, key, sample index): batch size and order do not matter.
    `method.apply(prior, image, **run)` hands all of them on.

    >>> run = hw.Run(seed=7, batch_size=8)
    >>> prior.sample(1, 2, **run).shape
    torch.Size([1, 1, 32, 32])
    """

    seed: int = 0
    """Number that decides every draw."""
    batch_size: int = 32
    """Samples per network call."""
    device: str = field(default_factory=best_device)
    """Device that networks run on: cuda, mps or cpu, the best there is by default."""
    progress: bool = True
    """Show progress of work of over two seconds."""
    first: int = 0
    """Index of the first sample of this call among all samples of the work."""
    checkpoint_dir: Path | None = None
    """Folder for the checkpoints of long work, which goes on from there; None keeps none."""

    def keys(self) -> list[str]:
        """The names of the fields, so that `**run` gives them as keywords."""
        return [f.name for f in fields(self)]

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def stream(self, n: int, law: Noise | None = None, purpose: int = 0) -> Stream:
        """Noise for samples first .. first + n - 1; `purpose` separates unrelated uses of one seed."""
        indices = range(self.first, self.first + n)
        return (law or White()).stream([derive(self.seed, purpose, i) for i in indices])

    def batches(
        self, n: int, law: Noise | None = None, *, draws: int = 1, key: Key | None = None
    ) -> list[Batch]:
        """n items with `draws` samples each as batches of at most `batch_size` samples, in order.

        The draws of an item share a batch where they fit. key: by default draw k of item i has the noise of
        (seed, k, first + i).
        """
        key = key or (lambda item, draw: (draw, self.first + item))
        at_once, found = max(1, self.batch_size // draws), list[Batch]()
        for start in range(0, n, at_once):
            items = range(start, min(start + at_once, n))
            for first in range(0, draws, self.batch_size):
                some = range(first, min(first + self.batch_size, draws))
                found.append(Batch(items, some, self, law or White(), key))
        return found

    def child(self, name: str) -> Run:
        """The same for one part of the work, which keeps its checkpoints in a folder of its own."""
        if self.checkpoint_dir is None:
            return self
        return replace(self, checkpoint_dir=self.checkpoint_dir / name)

    def track(self, steps: Iterable[T], label: str = "", total: int | None = None) -> Iterator[T]:
        """Pass the steps on, and show how far they are if `progress` says so."""
        return track(steps, label, total=total, shown=self.progress)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples of a work: `draws` of each of `items`, those of one item together."""

    items: range
    draws: range
    run: Run
    law: Noise
    key: Key

    def __len__(self) -> int:
        return len(self.items) * len(self.draws)

    @property
    def rows(self) -> slice:
        """The items as a slice of all items."""
        return slice(self.items.start, self.items.stop)

    @cached_property
    def noise(self) -> Stream:
        """The noise of these samples, each with a generator of its own, which goes on from draw to draw."""
        return self.law.stream(
            [derive(self.run.seed, *self.key(i, k)) for i in self.items for k in self.draws]
        )

    def take(self, values: Tensor) -> Tensor:
        """The rows of these samples in `values` (n, ...), or its one row for all, on the run's device."""
        some = values[self.rows] if len(values) > 1 else values.expand(len(self.items), *values.shape[1:])
        return self.repeat(some.to(self.run.device))

    def repeat(self, values: Tensor) -> Tensor:
        """One row for each item to one row for each sample."""
        return values if len(self.draws) == 1 else values.repeat_interleave(len(self.draws), 0)

    def empty(self, *shape: int) -> Tensor:
        """An uninitialised tensor (samples, *shape) on the run's device, to draw noise like."""
        return torch.empty(len(self), *shape, device=self.run.device)

    @property
    def rest(self) -> Run:
        """The run that numbers these items rightly in a call of its own."""
        return replace(self.run, first=self.run.first + self.items.start)
