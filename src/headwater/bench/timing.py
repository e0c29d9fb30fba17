"""How times are taken: check that both sides agree, warm up, alternate, take the medians."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from headwater.bench.row import Row
from headwater.errors import Unequal
from headwater.sampling import Run


@dataclass(frozen=True)
class Times:
    """Seconds per unit of work of alternating runs, one pair after the other: wall time and CPU time."""

    ours: tuple[float, ...]
    peer: tuple[float, ...]
    ours_cpu: tuple[float, ...]
    peer_cpu: tuple[float, ...]

    def row(
        self,
        name: str,
        *,
        sizes: str,
        peer: str,
        equal: str,
        peaks: tuple[float, float] | None = None,
        slower: str = "",
    ) -> Row:
        """These times and what they mean; peaks are MB of ours and of the peer, the rest is `Row`'s."""
        a, b = median(self.ours), median(self.peer)
        pairs = [q / p for p, q in zip(self.ours, self.peer, strict=True)]
        work = median(self.ours_cpu), median(self.peer_cpu)
        mine, theirs = peaks or (None, None)
        spread = min(pairs), max(pairs)
        return Row(name, a, b, b / a, spread, *work, mine, theirs, sizes, peer, equal, slower)

    @property
    def saved(self) -> float:
        """Seconds that a unit of ours takes less than the peer's."""
        return median(self.peer) - median(self.ours)

    def row_alone(self, name: str, *, sizes: str, peer: str) -> Row:
        """Ours only, where the peer is missing."""
        work = median(self.ours_cpu)
        return Row(
            name, median(self.ours), None, None, None, work, None, None, None, sizes, peer, "unchecked"
        )


def alternate(
    ours: Callable[[], object],
    peer: Callable[[], object],
    pairs: int,
    run: Run,
    what: str,
    units: tuple[int, int] = (1, 1),
) -> Times:
    """Run ours, peer, ours, peer, ... after one unmeasured run of each.

    Alternating spreads whatever else the machine does over both sides. units: how many steps, fields ...
    one run of each side computes.
    """
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    with _no_garbage_collection():
        for i in run.track(range(pairs + 1), what):
            for side, call in enumerate((ours, peer)):
                start, worked = time.perf_counter(), time.process_time()
                call()
                seconds, work = time.perf_counter() - start, time.process_time() - worked
                if i:
                    wall[side].append(seconds / units[side])
                    cpu[side].append(work / units[side])
    return Times(tuple(wall[0]), tuple(wall[1]), tuple(cpu[0]), tuple(cpu[1]))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection takes long and would strike one side by chance."""
    on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def agreement(ours: Tensor, peer: Tensor, tolerance: float, what: str) -> str:
    """Largest absolute difference, in words.

    Raises Unequal beyond the tolerance: times of two things that differ mean nothing.
    """
    worst = float((ours - peer).abs().max()) if ours.shape == peer.shape else float("inf")
    # The negation also catches a difference that is not a number.
    if not worst <= tolerance:
        raise Unequal(
            f"bench: {what} differ by {worst:.1e}, more than {tolerance:.0e}: report this with the versions "
            f"of your packages (torch {torch.__version__})"
        )
    return f"{what} to {worst:.1e} (limit {tolerance:.0e})"


def relative_agreement(ours: Tensor, peer: Tensor, tolerance: float, what: str) -> str:
    """`agreement` in units of the peer's largest value: rounding grows with the numbers that are rounded."""
    largest = peer.abs().max()
    return agreement(ours / largest, peer / largest, tolerance, f"{what}, of the largest value,")
