"""Options that every working verb has, and how each is turned into objects."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from headwater.cli.usage import WrongUsage, nearest
from headwater.errors import UserError
from headwater.notes import printable
from headwater.sampling import Run, best_device

Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A flag without a --no- form."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """How to work; nothing here but the seed decides what an item draws."""

    out: Path
    """Folder for the results; must be empty or new."""
    seed: int = 0
    """Decides every draw."""
    batch: int = 32
    """Number of items per network call; lower it to save memory. Another one changes rounding, and so the
    last digits of a result, never what is drawn for it."""
    device: str = field(default_factory=best_device)
    """Device to work on: cpu, cuda, cuda:1, mps and so on; the best there is by default."""
    overwrite: Switch = False
    """Replace the results that an earlier run left in OUT."""
    json: Switch = False
    """Print the result as JSON, and no progress."""

    def run(self, first: int = 0) -> Run:
        """These options for items from `first` on. Raises UserError for a batch or device that cannot be."""
        if self.batch < 1:
            raise WrongUsage(f"--batch is {self.batch}: give 1 or more")
        return Run(self.seed, self.batch, usable(self.device), not self.json, first)


@dataclass(frozen=True, kw_only=True)
class Resumed(Work):
    """How to do work that may be stopped."""

    resume: Switch = False
    """Go on in OUT where the same command was stopped."""


def usable(device: str) -> str:
    """The name of a device on which torch can work here. Raises UserError if it cannot."""
    try:
        kind = torch.device(device).type
    except RuntimeError:
        hint = nearest(device, ("cpu", "cuda", "mps", "xpu"), "choose cpu, cuda or mps")
        raise WrongUsage(f"--device: torch knows no {device!r}: {hint}") from None
    try:
        if kind == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "torch refuses it"
        raise UserError(f"--device {device} cannot be used here ({reason}): choose --device cpu") from None
    return device


def answer(machine: bool, sentence: str, values: dict[str, Any]) -> int:
    """Print the sentence, or the values as JSON; returns 0."""
    print(as_json(values) if machine else printable(sentence))
    return 0


def as_json(values: Any) -> str:
    """Strict JSON: what is not finite becomes null, what JSON does not know becomes text."""
    return json.dumps(_finite(values), indent=2, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value
