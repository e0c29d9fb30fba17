"""Simplex fields against the opensimplex package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from headwater.bench.row import Row
from headwater.bench.surroundings import installed
from headwater.bench.timing import agreement, alternate
from headwater.errors import need
from headwater.noise import Simplex, seeds
from headwater.sampling import Run

TOLERANCE = 1e-9


@dataclass(frozen=True)
class SimplexFields:
    """AnoDDPM's fields. A walk needs one level for the batch, another at each step; training one a sample.

    No level comes twice, so ours rebuilds its map every time.
    """

    levels: Literal["walk", "training"]
    batch: int
    side: int
    pairs: int

    def rows(self, run: Run) -> list[Row]:
        """Check the law's own draws against the package, then time both per field."""
        need(bool(installed("opensimplex")), "bench: simplex needs its peer: `pip install opensimplex`")
        law, drawn = Simplex(), seeds(0, n=self.batch)
        exact = torch.empty(self.batch, 1, self.side, self.side, dtype=torch.float64)
        field = law.stream(drawn)(exact, 250)[0, 0]
        equal = agreement(field, theirs(law, drawn[0], 250, self.side), TOLERANCE, "fields in float64")
        like, stream, turn = exact.float(), law.stream(drawn), count()

        def ours() -> Tensor:
            first = next(turn) * self.batch
            if self.levels == "walk":
                return stream(like, 1 + first % 1000)
            return stream(like, 1 + (first + torch.arange(self.batch)) % 1000)

        compiled = installed("numba")
        fields = self.batch if compiled else 1

        def peer() -> object:
            return [theirs(law, drawn[i], 1 + i, self.side) for i in range(fields)]

        name = f"simplex {self.side}, {self.levels}, {self.batch}"
        times = alternate(ours, peer, self.pairs, run, name, (self.batch, fields))
        each = "one level" if self.levels == "walk" else "a level for each sample"
        return [
            times.row(
                name,
                sizes=f"seconds per field of {self.side} x {self.side} in {law.octaves} octaves, batch "
                f"{self.batch}, {each}, never the same twice, permutations included",
                peer=f"opensimplex {installed('opensimplex')} noise3array summed over octaves, "
                + (f"compiled by numba {compiled}" if compiled else "without numba, which is not installed"),
                equal=equal,
            )
        ]


def theirs(law: Simplex, seed: int, level: int, side: int) -> Tensor:
    """The field that `law` draws with a generator of this seed, by the package: (side, side) float64."""
    import opensimplex

    (drawn,) = _as_drawn([seed])
    source = opensimplex.OpenSimplex(drawn)
    total = np.zeros((1, side, side))
    for i in range(law.octaves):
        wave = law.wavelength / 2**i
        at = np.arange(side) / wave
        total += law.persistence**i * source.noise3array(at, at, np.array([(level - 1) / wave]))
    return torch.from_numpy(total[0])


def _as_drawn(names: Sequence[int]) -> list[int]:
    """The seed of the first field that each generator gives."""
    generators = [torch.Generator().manual_seed(name) for name in names]
    return [int(torch.randint(2**63 - 1, (1,), generator=g)) for g in generators]
