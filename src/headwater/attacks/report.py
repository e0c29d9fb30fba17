"""What a suite found. No robustness figure is ever rendered without the strongest attack beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from headwater.attacks.threat import Threat
from headwater.metrics.statistics import student_interval, wilson_interval
from headwater.report import Share

WORST = "worst case over all attacks"
KNOWN = "noise known to the attacker"
CLEAN = "no attack"
SINGLE, SINGLE_WORST = "no attack, one draw", "worst case over all attacks, one draw"
"""Of a random model: what a single evaluation gets right, on average, where a vote counts above."""
NAIVE, BLIND = "classifier only", "BPDA + EOT"
EXACT, APGD_EXACT = "exact gradient + EOT", "exact APGD + EOT"
TRANSFER = "transfer"
"""Attacks on a purifier, by what they know of it; the last one knows not even the classifier."""


@dataclass(frozen=True, eq=False)
class Report:
    """Which pictures a model still gets right: bool (N,) without attack, and under each attack.

    A picture holds under an attack if it holds clean, and if the true class wins strictly more of `votes`
    evaluations with fresh noise than any other class, for every candidate of that attack: once broken, it
    stays broken.
    """

    threat: Threat
    votes: int
    clean: Tensor
    held: Mapping[str, Tensor]
    known: Tensor | None = None
    """Under an attack that knows the noise of the evaluation: what is left without the help of chance."""
    single: Mapping[str, Tensor] = field(default_factory=dict)
    """Without attack, and under each: the share of the votes that are right, float (N,), of an attack for its
    worst candidate. A deployed defence that is asked once answers so."""

    @property
    def worst(self) -> Tensor:
        """Pictures that hold under every attack, bool (N,)."""
        found = self.clean
        for held in self.held.values():
            found = found & held
        return found

    @property
    def singles(self) -> dict[str, Share]:
        """Right answers of one draw, without attack and for the worst candidate of each picture over all
        attacks, with intervals of 95 % over pictures; the latter was chosen on the same draws, which makes it
        look worse by their chance. Empty where the model is not random."""
        if self.votes == 1 or CLEAN not in self.single:
            return {}
        return {
            name: Share(max(0.0, low), float(v.double().mean()), min(1.0, high))
            for name, v in self.single_by_name.items()
            for low, high in [student_interval(v.numpy()) if len(v) > 1 else (0.0, 1.0)]
        }

    @property
    def single_by_name(self) -> dict[str, Tensor]:
        """The share of single draws that are right, without attack and in the worst case: float (N,) each."""
        worst = torch.stack(list(self.single.values())).amin(0)
        return {SINGLE: self.single[CLEAN], SINGLE_WORST: worst}

    @property
    def by_name(self) -> dict[str, Tensor]:
        """The worst case, every attack, no attack, and known noise if it was tried: bool (N,) each."""
        known = {} if self.known is None else {KNOWN: self.known}
        return {WORST: self.worst, **self.held, CLEAN: self.clean, **known}

    @property
    def strongest(self) -> str:
        """The attack under which fewest pictures hold."""
        return min(self.held, key=lambda name: int(self.held[name].sum()))

    @property
    def warnings(self) -> list[str]:
        """Signs that the figures flatter the model."""
        counts = {name: int(held.sum()) for name, held in self.held.items()}
        exact = [n for name, n in counts.items() if "exact" in name]
        weaker = [name for name, n in counts.items() if "exact" not in name and exact and n < min(exact)]
        found = [
            f"{name} breaks more than exact gradients do: they may be masked, give them more steps or draws"
            for name in weaker
        ]
        if self.known is not None and int(self.known.sum()) > int(self.worst.sum()):
            found.append("knowing the noise helps the attacker less than not knowing it: add steps")
        return found

    @property
    def shares(self) -> dict[str, Share]:
        """Share of pictures that hold, for each of `by_name`, with Wilson's 95 % interval."""
        found: dict[str, Share] = {}
        for name, held in self.by_name.items():
            right, n = int(held.sum()), len(held)
            low, high = wilson_interval(right, n)
            found[name] = Share(low, right / n, high)
        return found

    def summary(self) -> str:
        """The figure to quote."""
        return (
            f"{self.shares[WORST]} in the worst case of {len(self.held)} attacks "
            f"({self.threat}; strongest alone: {self.strongest}, {self.shares[self.strongest]})"
        )

    def __str__(self) -> str:
        head = f"{len(self.clean)} pictures, {self.threat}, {self.votes} votes; strongest: {self.strongest}"
        width = max(map(len, self.shares))
        lines = [f"  {name:{width}}  {share}" for name, share in self.shares.items()]
        lines += [f"  {k:{width}}  {s}" for k, s in self.singles.items()]
        return "\n".join([head, *lines, *self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "threat": str(self.threat),
            "votes": self.votes,
            "n": len(self.clean),
            "strongest": self.strongest,
            "accuracy": {k: {"share": s.mean, "low": s.low, "high": s.high} for k, s in self.shares.items()},
            "one_draw": {k: {"share": s.mean, "low": s.low, "high": s.high} for k, s in self.singles.items()},
            "warnings": self.warnings,
        }


@dataclass(frozen=True, eq=False)
class Effort:
    """What is left over the effort of the attacks."""

    steps: tuple[int, ...]
    left: tuple[float, ...]
    """Share of pictures that hold under all attacks of so many steps and fewer."""
    flat: bool
    """Whether the last step up broke hardly anything."""
    reports: tuple[Report, ...]

    def __str__(self) -> str:
        pairs = zip(self.left, self.steps, strict=True)
        found = ", ".join(f"{left:.1%} after {steps} steps" for left, steps in pairs)
        return f"{found}: {'flat' if self.flat else 'not flat, so take more steps before you quote it'}"
