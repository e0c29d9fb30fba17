"""Quality against network calls, and what follows from it: the cheapest solver that is not worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """What one solver reached with so many network calls: smaller is better."""

    solver: str
    calls: int
    value: float
    error: float
    """Standard error; 0 for a closed form."""


@dataclass(frozen=True)
class Curve:
    """Every solver at several numbers of network calls."""

    name: str
    measure: str
    points: tuple[Point, ...]
    floor: float | None
    """What two halves of the true pictures differ by; 0 for a closed form, None where it is not known."""

    @property
    def front(self) -> list[Point]:
        """Points that no other beats for as many calls or fewer, by rising price."""
        found: list[Point] = []
        for p in sorted(self.points, key=lambda p: (p.calls, p.value)):
            if not found or p.value < found[-1].value:
                found.append(p)
        return found

    @property
    def not_worse(self) -> list[Point]:
        """Points within two standard errors of the best."""
        best = min(self.points, key=lambda p: p.value)
        return [p for p in self.points if p.value - best.value <= 2 * math.hypot(p.error, best.error)]

    @property
    def cheapest(self) -> Point:
        """Of those that are not worse the one with the fewest calls; of several, the best."""
        return min(self.not_worse, key=lambda p: (p.calls, p.value))


def grid(curve: Curve) -> list[list[str]]:
    """A head of network calls, then a line a solver: value and error."""
    budgets = sorted({p.calls for p in curve.points})
    found = {(p.solver, p.calls): p for p in curve.points}
    lines = [["network calls", *map(str, budgets)]]
    for solver in dict.fromkeys(p.solver for p in curve.points):
        at = [found.get((solver, calls)) for calls in budgets]
        lines.append([solver, *("" if p is None else said(p) for p in at)])
    return lines


def said(point: Point) -> str:
    """Value and error, three digits."""
    return f"{point.value:.3g}" + (f" ± {point.error:.1g}" if point.error else "")


def outcome(curve: Curve) -> str:
    """What the curve says: the best for each price, and the cheapest that is not worse than the best."""
    best = "Best for the price: " + ", ".join(f"{p.solver} {p.calls}" for p in curve.front) + "."
    if curve.floor == 0:
        return best
    p = curve.cheapest
    cheapest = f"Cheapest within two standard errors of the best: {p.solver} with {p.calls} calls, {said(p)}."
    if curve.floor is None:
        return f"{best} {cheapest}"
    return f"Two halves of the true pictures differ by {curve.floor:.3g}. {best} {cheapest}"


def everywhere(found: Sequence[Curve]) -> str:
    """Which solver is the cheapest of those that are not worse on any of several priors; may be empty."""
    priors = [curve for curve in found if curve.floor]
    if len(priors) < 2:
        return ""
    alike = set.intersection(*({(p.calls, p.solver) for p in curve.not_worse} for curve in priors))
    if not alike:
        return "No solver is within two standard errors of the best on every prior."
    calls = min(alike)[0]
    solvers = " and ".join(sorted(solver for n, solver in alike if n == calls))
    return f"Cheapest within two standard errors of the best on every prior: {solvers} with {calls} calls."


def curves(found: Sequence[Curve]) -> list[str]:
    """Each curve as a plain table, and what all of them say together."""
    parts = []
    for curve in found:
        cells = grid(curve)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
        parts.append("\n".join([f"{curve.name}: {curve.measure}", *lines, outcome(curve)]))
    return [*parts, *filter(None, [everywhere(found)])]
