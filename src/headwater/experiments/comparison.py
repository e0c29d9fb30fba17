"""One way to compare two arms: paired by what is independent, with an interval, and a verdict.

What is independent is a picture, a window, a sentence; never its fillings, noise draws or masks. A claim
hands over one number per unit and arm and cannot choose its own statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headwater.metrics.statistics import crossed_interval, student_interval

_Values = NDArray[np.float64]
Better = Literal["larger", "smaller"]
Verdict = Literal["held", "partly", "not held"]
FEWEST = 10
"""Units of data below which no verdict rests on them. Of trainings, which cost more, there may be fewer."""
TRAINING = "training"
"""The unit of `compare_trainings`."""


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
    """Ends of its 95 % interval, over units and `trainings`; infinite for a single unit."""
    high: float
    required: bool = True
    """Whether the verdict rests on it; another one is reported beside."""
    trainings: int = 0
    """Over how many trainings of its arms the interval is, too; 0 where they were trained once, or not."""

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
        figures = f"{self.mean:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"
        return f"{self.what}: {figures} ({self.counts})"

    @property
    def counts(self) -> str:
        """What the interval is over, in numbers: `n = 78, 3 trainings`."""
        return f"n = {len(self.ours)}" + (f", {self.trainings} trainings" if self.trainings else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, those of every unit included, so that anyone can compare them otherwise."""
        return {
            "gain": {"mean": self.mean, "low": self.low, "high": self.high},
            "better": self.better,
            "required": self.required,
            "unit": self.unit,
            "n": len(self.ours),
            "trainings": self.trainings,
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
    what: str,
    ours: ArrayLike,
    other: ArrayLike,
    better: Better,
    unit: str,
    required: bool = True,
    trained: bool = False,
) -> Comparison:
    """Compare two arms by their numbers per unit, (N,) each.

    better: whether a larger or a smaller number is better. A unit that was measured several times (over
    seeds or masks) is averaged first: rows (M, N) are M measurements of the same N units.
    trained: whether each row is of arms trained anew; the interval is then over trainings and units.
    Raises ValueError where the arms do not have the same units.
    """
    mine, theirs = _per_unit(ours), _per_unit(other)
    if mine.shape != theirs.shape:
        raise ValueError(f"{what}: {mine.size} units against {theirs.size}; compare the same ones")
    found = _compared(what, mine, theirs, better, unit, required)
    each = np.broadcast_to(ours, np.broadcast_shapes(np.shape(ours), np.shape(other))) - np.asarray(other)
    if not trained or each.ndim < 2 or min(each.shape) < 2:
        return found
    low, high = crossed_interval(each if better == "larger" else -each)
    return replace(found, low=low, high=high, trainings=len(each))


def compare_trainings(
    what: str, ours: ArrayLike, other: ArrayLike, better: Better, required: bool = True
) -> Comparison:
    """Compare two arms that were trained anew for each seed, by their mean number per training, (N,) each.

    Another training would differ by more than other pictures do. Raises ValueError for a single training.
    """
    mine, theirs = np.asarray(ours, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if mine.size < 2:
        raise ValueError("an interval over trainings needs two or more")
    return _compared(what, mine, theirs, better, TRAINING, required)


def _compared(
    what: str, mine: _Values, theirs: _Values, better: Better, unit: str, required: bool
) -> Comparison:
    gain = mine - theirs if better == "larger" else theirs - mine
    low, high = student_interval(gain) if gain.size > 1 else (-math.inf, math.inf)
    units = tuple(mine.tolist()), tuple(theirs.tolist())
    return Comparison(what, unit, *units, float(gain.mean()), low, high, required)


def verdict(conditions: Sequence[Condition], fewest: int = FEWEST) -> Verdict:
    """`held` if everything that the claim requires holds, comparisons beyond chance; `partly` if something
    does. What is compared on fewer than `fewest` units of data does not hold."""

    def enough(c: Condition) -> bool:
        return isinstance(c, Bound) or c.unit == TRAINING or len(c.ours) >= fewest

    met = [c.holds and enough(c) for c in conditions if c.required]
    return "held" if all(met) else "partly" if any(met) else "not held"


def _per_unit(values: ArrayLike) -> _Values:
    found = np.asarray(values, dtype=np.float64)
    return found.mean(0) if found.ndim == 2 else found
