"""Progress of long work: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

DELAY = 2.0
"""Seconds that work takes before anything is shown."""
INTERVAL = 30.0
"""Seconds between the lines of a log file."""


class ProgressBar:
    """How far some work is, on standard error: nothing in its first two seconds, then a bar (tqdm) if
    that is a terminal, else one line at most every 30 seconds and one at the end.

    total: number of steps, None if unknown. done: steps of an earlier run. shown: False shows nothing.
    """

    def __init__(
        self, total: int | None, label: str = "", *, done: int = 0, unit: str = "it", shown: bool = True
    ) -> None:
        self.total, self.label, self.done, self.unit, self.shown = (
            total,
            label or "progress",
            done,
            unit,
            shown,
        )
        self.note = ""
        self._bar: Any = None
        self._begun = self._said = time.monotonic()
        self._first, self._told = done, done
        if shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=label or None, unit=unit, delay=DELAY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.shown and self._told < self.done and time.monotonic() - self._begun >= DELAY:
            self._line()

    def update(self, steps: int = 1, note: str = "") -> None:
        """Count further steps; `note`, such as the loss, is shown from then on."""
        self.done += steps
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note)
            self._bar.update(steps)
            return
        self.note = note or self.note
        if self.shown and time.monotonic() - self._said >= INTERVAL:
            self._line()

    def _line(self) -> None:
        self._said, self._told = time.monotonic(), self.done
        of = "" if self.total is None else f"/{self.total}"
        each = (self._said - self._begun) / max(1, self.done - self._first)
        note = f", {self.note}" if self.note else ""
        print(
            f"{self.label}: {self.done}{of} {self.unit}, {each:.3g} s each{note}", file=sys.stderr, flush=True
        )


def track(
    items: Iterable[T], label: str = "", *, total: int | None = None, shown: bool = True
) -> Iterator[T]:
    """Pass the items on, counted by a `ProgressBar`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with ProgressBar(total, label, shown=shown) as progress:
        for item in items:
            yield item
            progress.update()
