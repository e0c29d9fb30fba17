"""One way to compare two arms: paired by what is independent, with an interval, and a verdict.

What is independent is a picture, a window, a sentence; never its fillings, noise draws or masks. A claim
hands over one number per unit and arm and cannot choose its own statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from headwater.metrics.statistics import bootstrap_interval, student_interval

Better = Literal["larger", "smaller"]
Verdict = Literal["held", "partly", "not held"]


@dataclass(frozen=True)
class Comparison:
    """How much better ours is than another arm, on the same units."""

    what: str
    """The measure and the other arm: `hole error against a plain walk`."""
    unit: str
    """What was resampled."""
    ours: tuple[float, ...]
    """Per unit, in one order for both arms."""
    other: tuple[float, ...]
    mean: float
    """Mean gain over the units; positive is better, whichever way the measure goes."""
    low: float
    """Ends of its 95 % interval: of the bootstrap over units, or Student's over trainings."""
    high: float
    required: bool = True
    """Whether the verdict rests on it; another one is reported beside."""

    @property
    def better(self) -> bool:
        """Whether the gain is beyond chance."""
        return self.low > 0

    @property
    def holds(self) -> bool:
        """The same, under the name that a `Bound` has too."""
        return self.better

    @property
    def worse(self) -> bool:
        """Whether the loss is beyond chance."""
        return self.high < 0

    def __str__(self) -> str:
        return f"{self.what}: {self.mean:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, those of every unit included, so that anyone can compare them otherwise."""
        return {
            "gain": {"mean": self.mean, "low": self.low, "high": self.high},
            "better": self.better,
            "required": self.required,
            "unit": self.unit,
            "ours": list(self.ours),
            "other": list(self.other),
        }


@dataclass(frozen=True)
class Bound:
    """A condition that is no comparison of two arms on the same units: a share, a place, an order."""

    what: str
    """One clause with the figures: `90 % intervals hold 88.1% of the truths`."""
    holds: bool
    value: float | None = None
    """The figure itself, where it is one number."""
    required: bool = True

    def __str__(self) -> str:
        return self.what

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"holds": self.holds, "value": self.value, "required": self.required}


Condition = Comparison | Bound


def compare(
    what: str, ours: ArrayLike, other: ArrayLike, better: Better, unit: str, required: bool = True
) -> Comparison:
    """Compare two arms by their numbers per unit, (N,) each.

    better: whether a larger or a smaller number is better. A unit that was measured several times (over
    seeds or masks) is averaged first: rows (M, N) are M measurements of the same N units.
    Raises ValueError where the arms do not have the same units.
    """
    mine, theirs = _per_unit(ours), _per_unit(other)
    if mine.shape != theirs.shape:
        raise ValueError(f"{what}: {mine.size} units against {theirs.size}; compare the same ones")
    gain = mine - theirs if better == "larger" else theirs - mine
    low, high = bootstrap_interval(gain, seed=0)
    units = tuple(mine.tolist()), tuple(theirs.tolist())
    return Comparison(what, unit, *units, float(gain.mean()), low, high, required)


def compare_trainings(
    what: str, ours: ArrayLike, other: ArrayLike, better: Better, required: bool = True
) -> Comparison:
    """Compare two arms that were trained anew for each seed, by their mean number per training, (N,) each.

    The interval is Student's over trainings: another training would differ by more than other pictures do.
    Raises ValueError for fewer than two trainings.
    """
    mine, theirs = np.asarray(ours, dtype=np.float64), np.asarray(other, dtype=np.float64)
    gain = mine - theirs if better == "larger" else theirs - mine
    low, high = student_interval(gain)
    units = tuple(mine.tolist()), tuple(theirs.tolist())
    return Comparison(what, "training", *units, float(gain.mean()), low, high, required)


def verdict(conditions: Sequence[Condition]) -> Verdict:
    """`held` if everything that the claim requires holds, comparisons beyond chance; `partly` if something
    does."""
    met = [c.holds for c in conditions if c.required]
    return "held" if all(met) else "partly" if any(met) else "not held"


def _per_unit(values: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.asarray(values, dtype=np.float64)
    return found.mean(0) if found.ndim == 2 else found
