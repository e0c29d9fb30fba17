"""Pixel classifiers on maps at their own resolution against the naive full-resolution stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from headwater.bench.naive_features import naive_logits
from headwater.bench.row import Row
from headwater.bench.timing import agreement, alternate
from headwater.bench.weighing import peak
from headwater.nets.pixel_ensemble import PixelEnsemble
from headwater.sampling import Run

TOLERANCE = 1e-4
BLOCKS = {5: (1024, 8), 6: (512, 8), 7: (512, 8), 8: (512, 4), 12: (256, 2)}
"""Channels of the paper's decoder blocks, and by how much each is smaller than the picture."""
_STEPS = 3


@dataclass(frozen=True)
class PixelFeatures:
    """Logits of every classifier for one picture, from the maps that the paper's network would give.

    width: 1 for the paper's channels (D = 8448), less for a test.
    """

    side: int
    members: int
    pairs: int
    classes: int = 10
    width: float = 1.0

    def rows(self, run: Run) -> list[Row]:
        """Check that both give the same logits, time them, and weigh each in a process of its own."""
        ensemble, maps = self.ensemble(), self.maps()
        both = self.ours(ensemble, maps), self.naive(ensemble, maps)
        equal = agreement(both[0], both[1], TOLERANCE, "logits")
        del both
        name = f"pixel features {self.side} x {self.side}"

        def ours() -> Tensor:
            return self.ours(ensemble, maps)

        def peer() -> Tensor:
            return self.naive(ensemble, maps)

        times = alternate(ours, peer, self.pairs, run, name)
        count, members = ensemble.dim, self.members
        return [
            times.row(
                name,
                sizes=f"seconds per picture without the network, D = {count} features a pixel in "
                f"{len(maps)} maps, {members} classifiers, {self.classes} classes, fp32; memory with maps "
                "and logits",
                peer="the naive stack as in the reference (bench/naive_features.py): maps resized, joined, "
                "classified, one classifier after the other",
                equal=equal,
                peaks=(peak(self, "ours"), peak(self, "naive")),
            )
        ]

    def maps(self) -> list[Tensor]:
        """Random maps (1, C, h, w), three steps of each block."""
        generator = torch.Generator().manual_seed(0)
        shapes = [(int(c * self.width), self.side // f) for _ in range(_STEPS) for c, f in BLOCKS.values()]
        return [torch.randn(1, c, s, s, generator=generator) for c, s in shapes]

    def ensemble(self) -> PixelEnsemble:
        """Classifiers with random weights, large enough for logits of about 1."""
        dim = _STEPS * sum(int(c * self.width) for c, _ in BLOCKS.values())
        ensemble = PixelEnsemble(self.members, dim, self.classes)
        ensemble.draw([torch.Generator().manual_seed(k) for k in range(self.members)])
        with torch.no_grad():
            for weight in ensemble.weights:
                weight.mul_(50 * weight.shape[1] ** -0.5)
        return ensemble.eval()

    @torch.inference_mode()
    def ours(self, ensemble: PixelEnsemble, maps: list[Tensor]) -> Tensor:
        """(members, 1, classes, side, side)."""
        size = (self.side, self.side)
        return torch.stack([ensemble.logits(k, maps, size) for k in range(self.members)])

    def naive(self, ensemble: PixelEnsemble, maps: list[Tensor]) -> Tensor:
        """The same by the stack."""
        return naive_logits(ensemble, maps, (self.side, self.side))

    def small(self) -> Self:
        """One classifier, narrow maps of a picture of 16 x 16."""
        return replace(self, side=16, members=1, pairs=1, width=1 / 32)

    def work(self, way: str) -> Callable[[], Tensor]:
        """Maps and logits, `ours` or `naive`."""
        ensemble, logits = self.ensemble(), self.ours if way == "ours" else self.naive
        return lambda: logits(ensemble, self.maps())
