"""Change detection with features added level by level against the stack of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from headwater.bench.row import Row
from headwater.bench.timing import agreement, alternate
from headwater.bench.weighing import peak
from headwater.methods.segmentation.ddpm_cd.method import ChangeHead, HeadConfig
from headwater.sampling import Run

TOLERANCE = 1e-4
BLOCKS = ((1024, 16), (1024, 8), (512, 4), (256, 2), (128, 1))
"""Channels of the paper's decoder blocks, and by how much each is smaller than the picture."""
_LEVELS = 3


@dataclass(frozen=True)
class ChangeFeatures:
    """Logits of change for one pair, from the maps that the paper's network would give.

    width: 1 for the paper's channels, less for a test.
    """

    side: int
    pairs: int
    width: float = 1.0

    def rows(self, run: Run) -> list[Row]:
        """Check that both give the same logits, time them, and weigh each in a process of its own."""
        head = self.head()
        equal = agreement(self.ours(head), self.naive(head), TOLERANCE, "logits")
        name = f"change features {self.side} x {self.side}"
        times = alternate(lambda: self.ours(head), lambda: self.naive(head), self.pairs, run, name)
        return [
            times.row(
                name,
                sizes=f"seconds per pair without the network, {_LEVELS} noise levels, {len(BLOCKS)} blocks, "
                "fp32; memory with maps and logits",
                peer="the stack as in the reference: the blocks used of both dates and all levels are held, "
                "then joined block by block (it holds the other blocks too)",
                equal=equal,
                peaks=(peak(self, "ours"), peak(self, "naive")),
            )
        ]

    def head(self) -> ChangeHead:
        """A head with random weights."""
        torch.manual_seed(0)
        return ChangeHead(HeadConfig(tuple(int(c * self.width) for c, _ in BLOCKS), _LEVELS)).eval()

    def maps(self, date: int) -> Iterator[list[Tensor]]:
        """Random maps (1, C, h, w) of each block, at one level after another."""
        for level in range(_LEVELS):
            generator = torch.Generator().manual_seed(10 * date + level)
            sizes = [(int(c * self.width), self.side // f) for c, f in BLOCKS]
            yield [torch.randn(1, c, s, s, generator=generator) for c, s in sizes]

    @torch.inference_mode()
    def ours(self, head: ChangeHead) -> Tensor:
        """(1, 2, side, side)."""
        return head(self.maps(0), self.maps(1))

    @torch.inference_mode()
    def naive(self, head: ChangeHead) -> Tensor:
        """The same by the stack."""
        dates = [list(self.maps(date)) for date in (0, 1)]
        blocks = [cast(Any, part).block for part in head.decoder[::2]]
        before, after = (
            [block(torch.cat(m, 1)) for block, m in zip(blocks, zip(*date, strict=True), strict=True)]
            for date in dates
        )
        return head.compare(before, after)

    def small(self) -> Self:
        """Narrow maps of a pair of 32 x 32."""
        return replace(self, side=32, pairs=1, width=1 / 32)

    def work(self, way: str) -> Callable[[], Tensor]:
        """Maps and logits, `ours` or `naive`."""
        head, logits = self.head(), self.ours if way == "ours" else self.naive
        return lambda: logits(head)
