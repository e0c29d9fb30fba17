"""Text and numbers as safe HTML: every string that reaches a page passes through here."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text(value: object) -> str:
    """`value` as HTML text, also safe inside a quoted attribute.

    Lone surrogates (file names that are not UTF-8) and control characters become U+FFFD.
    """
    raw = str(value).encode("utf-8", "replace").decode("utf-8")
    printable = "".join(c if c in "\n\t" or ord(c) >= 32 else "\ufffd" for c in raw)
    return html.escape(printable, quote=True)


def paragraphs(value: str) -> str:
    """Plain text as <p> elements; a blank line starts a new one."""
    blocks = [part.strip() for part in value.split("\n\n")]
    return "".join(f"<p>{text(block)}</p>" for block in blocks if block)


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard deviation over `n` repetitions (seeds, images, folds)."""

    mean: float
    sd: float
    n: int = 0

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Mean and sample standard deviation (ddof 1; 0 for a single value) of `values`."""
        if not values:
            raise ValueError("Give at least one value to estimate a mean from.")
        floats = [float(v) for v in values]
        return cls(fmean(floats), stdev(floats) if len(floats) > 1 else 0.0, len(floats))


@dataclass(frozen=True)
class Interval:
    """A difference with the interval around it, drawn beside its figures against a line at 0."""

    low: float
    mean: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}]".replace("-", "−")

    def html(self) -> str:
        """The figures, and a bar from low to high over a line at 0; each row has its own scale."""
        reach = max(abs(self.low), abs(self.high), 1e-300) * 1.05
        low, mean, high = (60 + 60 * v / reach for v in (self.low, self.mean, self.high))
        side = "held" if self.low > 0 else "not-held" if self.high < 0 else "partly"
        return (
            f'<span class="interval {side}"><svg viewBox="0 0 120 14" aria-hidden="true">'
            f'<path class="zero" d="M60 0V14"/><path class="reach" d="M{low:.1f} 7H{high:.1f}"/>'
            f'<circle cx="{mean:.1f}" cy="7" r="3.5"/></svg>{text(self)}</span>'
        )


@dataclass(frozen=True)
class Share:
    """A share of some units, 0 to 1, with the interval around it."""

    low: float
    mean: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def decimals_for(values: Sequence[float]) -> int | None:
    """Digits after the point that show about three significant figures; None: scientific."""
    finite = [abs(v) for v in values if math.isfinite(v)]
    largest = max(finite, default=0.0)
    if largest == 0.0:
        return 0
    if largest < 1e-3:
        return None
    if largest < 0.1:
        return 4
    return max(0, 3 - max(0, math.floor(math.log10(largest))))


def number(value: object, decimals: int | None = None) -> str:
    """A number for the eye: `1,234`, `0.973`, `1.2×10⁻⁵`, `0.91 ± 0.02`; not a number: `n/a`."""
    if isinstance(value, Estimate):
        shown = decimals_for([value.mean]) if decimals is None else decimals
        spread = _scientific(value.sd) if shown is None else f"{value.sd:,.{shown}f}"
        return f"{number(value.mean, shown)} ± {spread}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    shown = decimals_for([value]) if decimals is None else decimals
    if shown is None or (value != 0.0 and round(value, shown) == 0.0):
        return _scientific(value)
    return f"{value:,.{shown}f}".replace("-", "−")


def _scientific(value: float) -> str:
    if value == 0.0 or not math.isfinite(value):
        return "0" if value == 0.0 else "n/a"
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(SUPERSCRIPT)
    return f"{mantissa.replace('-', '−')}×10{raised}"
