"""Scales and ticks of a chart: data values to drawing units and to readable labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from headwater.report.markup import SUPERSCRIPT, number

Kind = Literal["linear", "log"]


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] (data) to [start, stop] (drawing units), evenly or by decades."""

    low: float
    high: float
    start: float
    stop: float
    kind: Kind = "linear"

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.kind == "log":
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, 1e-300))
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def ticks(self, about: int) -> list[float]:
        """Around `about` round values inside [low, high]."""
        return _decades(self, about) if self.kind == "log" else _round_steps(self, about)


def _round_steps(scale: Scale, about: int) -> list[float]:
    rough = (scale.high - scale.low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _decades(scale: Scale, about: int) -> list[float]:
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    stride = max(1, math.ceil((last - first) / max(1, about)))
    marks = [10.0**k for k in range(first, last + 1, stride)]
    if scale.high / scale.low < 400:
        marks = [m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5)]
    return [m for m in marks if scale.low * 0.999 <= m <= scale.high * 1.001]


def extent(values: Sequence[float], kind: Kind, margin: float = 0.05) -> tuple[float, float]:
    """The range to draw: finite (for log: positive) values with a margin, never empty."""
    usable = [v for v in values if math.isfinite(v) and (kind == "linear" or v > 0)]
    if not usable:
        return (0.0, 1.0) if kind == "linear" else (0.1, 1.0)
    low, high = min(usable), max(usable)
    if kind == "log":
        spread = (high / low) ** margin if high > low else 2.0
        return low / spread, high * spread
    pad = (high - low) * margin if high > low else abs(high) * 0.1 or 1.0
    # A quantity that is never negative keeps its honest zero when zero is near.
    floor = 0.0 if low >= 0 and low - pad <= 0 else low - pad
    return floor, high + pad


def tick_label(value: float, ticks: Sequence[float]) -> str:
    """One notation for the whole axis: enough decimals to tell neighbouring ticks apart."""
    largest = max((abs(t) for t in ticks), default=0.0)
    gaps = [b - a for a, b in pairwise(ticks)]
    if not gaps or (ticks[0] > 0 and ticks[-1] / ticks[0] > 90):
        return f"{value:g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else _power(value)
    if largest >= 1e5 or largest < 1e-3:
        return number(float(value), None if value else 0)
    # Steps such as 2.5 need one digit more than their power of ten.
    decimals = max(0, -math.floor(math.log10(min(gaps)) + 1e-9))
    if any(abs(t - round(t, decimals)) > 1e-9 * largest for t in ticks):
        decimals += 1
    return number(float(value), decimals)


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.0e}".split("e")
    raised = str(int(exponent)).translate(SUPERSCRIPT)
    return f"10{raised}" if mantissa == "1" else f"{mantissa}×10{raised}"
