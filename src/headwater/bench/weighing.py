"""Peak memory of one way to compute something, taken in a fresh process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol, Self

import torch

from headwater.bench.fresh_process import answer_of


class Weighed(Protocol):
    """A comparison that can be weighed: a dataclass of plain numbers and words, listed in `peak_memory`."""

    def small(self) -> Self:
        """The same at a size that only loads what loads once."""
        ...

    def work(self, way: str) -> Callable[[], object]:
        """Build what is not counted, networks above all; the call is what is weighed."""
        ...


def peak(task: Weighed, way: str) -> float:
    """Highest resident memory of one way in a fresh process, in MB beyond what it started from.

    A process of its own, because freed memory does not lower a process's record. Raises UserError when it
    does not end well.
    """
    fields: dict[str, Any] = asdict(task)  # pyright: ignore[reportArgumentType]
    job = [type(task).__name__, fields, way, torch.get_num_threads()]
    failing = f"memory of the {way} way could not be measured"
    return float(answer_of("headwater.bench.peak_memory", job, failing, "free memory"))
