"""The shipped sets that are no pictures: pairs of verses, and a table of the air of one city."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .series import Table


@dataclass(frozen=True)
class Pairs:
    """Texts in two wordings.

    Attributes:
        name: name of the set.
        split: name of the split.
        source: N texts, archaic English.
        target: the same N in modern English.
        names: where each is from, `Ruth 1:3`.
    """

    name: str
    split: str
    source: list[str]
    target: list[str]
    names: list[str]

    def __len__(self) -> int:
        return len(self.source)

    def select(self, rows: Sequence[int]) -> Pairs:
        """These pairs, in this order."""
        sides = ([side[i] for i in rows] for side in (self.source, self.target, self.names))
        return Pairs(self.name, self.split, *sides)

    def within(self, words: int) -> Pairs:
        """The pairs of at most so many words, separated by blanks, on either side."""
        lengths = [max(len(a.split()), len(b.split())) for a, b in zip(self.source, self.target, strict=True)]
        return self.select([i for i, length in enumerate(lengths) if length <= words])


def verses(found: dict[str, np.ndarray], split: str) -> Pairs:
    """One split of the stored verses."""
    lines = found["lines"].tobytes().decode("utf-8").split("\n")
    titles, rows = found["books"].tolist(), np.flatnonzero(found["split"] == SPLITS.index(split)).tolist()
    keys = [int(found["key"][i]) for i in rows]
    names = [f"{titles[k // 1_000_000 - 1]} {k // 1000 % 1000}:{k % 1000}" for k in keys]
    return Pairs("verses", split, [lines[2 * i] for i in rows], [lines[2 * i + 1] for i in rows], names)


def air(found: dict[str, np.ndarray], split: str) -> Table:
    """One split of the stored hours; times count from the first of all: the splits follow each other."""
    bounds = [*found["starts"].tolist(), len(found["TEMP"])]
    start, stop = bounds[SPLITS.index(split)], bounds[SPLITS.index(split) + 1]
    values = {name: found[name].astype(np.float64) for name in AIR[:7]}
    values["pm2.5"][found["pm2.5"] < 0] = np.nan
    values["Iws"] /= 100
    north, east = found["wind"].T.astype(np.float64)
    stacked = np.stack([*values.values(), north, east], 1)
    hours = np.arange(len(stacked))
    stamps = np.datetime64("2010-01-01T00") + hours[start:stop]
    written = tuple(str(stamp).replace("T", " ") + ":00" for stamp in stamps)
    return Table(stacked[start:stop], hours[start:stop].astype(np.float64), AIR, f"air-{split}", written)


SPLITS = ("train", "val", "test")
AIR = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir", "north", "east")
"""Dust in ug/m3, dew point and temperature in C, pressure in hPa, running sums of wind (m/s), snow, rain (h),
and where the wind comes from: north 1, south -1; east 1, west -1; both 0 when calm or changing."""
