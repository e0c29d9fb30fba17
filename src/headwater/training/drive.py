"""The loop itself: update, log, keep, stop. Everything that is trained here is driven by it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from headwater.progress import ProgressBar
from headwater.training.stop import Stop

Decay = Literal["none", "linear", "cosine", "step"]
"""After warm-up: constant, down to 0 in a line or along half a cosine, or a tenth at 75 % and at 90 %."""


class NotFiniteError(ArithmeticError):
    """The loss or its gradient is not a number; the weights of this step were left alone."""


class Pace(Protocol):
    """What a training's settings say about its course: a `Recipe` or an `Optimisation`."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def warmup(self) -> int: ...
    @property
    def decay(self) -> Decay: ...
    @property
    def log_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> float: ...


class Job(Protocol):
    """One training as the loop sees it."""

    @property
    def pace(self) -> Pace: ...

    def update(self, step: int) -> tuple[float, float]:
        """Optimiser step `step` (0-based): mean loss and gradient norm."""
        ...

    def agree(self, flag: bool) -> bool:
        """Whether the flag is up in any process that trains along."""
        ...


class Keeper(Protocol):
    """What a training leaves on disk while it runs."""

    def log(self, line: dict[str, Any]) -> None: ...

    def checkpoint(self, now: Progress) -> None: ...

    def look(self, step: int) -> bool:
        """Called after every step; says whether it took time that is not training's."""
        ...


@dataclass
class Progress:
    """How far a training is, beside its tensors."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    """Losses since the last line of the log."""
    norms: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint says of it, beside the step."""
        return {"seconds": self.seconds, "losses": self.losses, "norms": self.norms}


def learning_rate(pace: Pace, step: int) -> float:
    """The rate of update `step` (0-based): linear warm-up times the decay."""
    rate = pace.lr * min(1.0, (step + 1) / max(1, pace.warmup))
    done = step / pace.steps
    match pace.decay:
        case "none":
            return rate
        case "linear":
            return rate * (1 - done)
        case "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * done))
        case "step":
            return rate * 0.1 ** ((done >= 0.75) + (done >= 0.9))


def drive(
    job: Job,
    now: Progress,
    keeper: Keeper | None,
    stop: Stop,
    max_minutes: float | None = None,
    progress: bool = True,
    what: str = "training",
) -> bool:
    """Train until done (True), or out of time or asked to stop (False), then with a checkpoint."""
    pace = job.pace
    begun = saved_at = time.monotonic()
    before, logged, logged_at, saved = now.seconds, now.step, begun, now.step
    until = float("inf") if max_minutes is None else begun + 60 * max_minutes
    with ProgressBar(pace.steps, what, done=now.step, unit="steps", shown=progress) as bar:
        while now.step < pace.steps:
            loss, norm = job.update(now.step)
            note = ""
            now.step += 1
            now.losses.append(loss)
            now.norms.append(norm)
            clock = time.monotonic()
            now.seconds = before + clock - begun
            if now.step % pace.log_every == 0 or now.step == pace.steps:
                speed = (now.step - logged) * pace.batch / max(clock - logged_at, 1e-9)
                line = _line(pace, now, speed)
                logged, logged_at = now.step, clock
                now.losses.clear()
                now.norms.clear()
                if keeper:
                    keeper.log(line)
                note = f"loss {line['loss']:.4f}, {speed:.0f} items/s"
            bar.update(note=note)
            if keeper and keeper.look(now.step):
                logged_at += time.monotonic() - clock
            leave = job.agree(stop.asked is not None or clock >= until)
            due = job.agree(keeper is not None and clock - saved_at >= pace.checkpoint_every)
            if keeper and (due or leave):
                keeper.checkpoint(now)
                saved_at, saved = time.monotonic(), now.step
            if leave and now.step < pace.steps:
                return False
    if keeper and saved < now.step:
        keeper.checkpoint(now)
    return True


def _line(pace: Pace, now: Progress, speed: float) -> dict[str, Any]:
    return {
        "step": now.step,
        "loss": sum(now.losses) / len(now.losses),
        "lr": learning_rate(pace, now.step - 1),
        "grad_norm": sum(now.norms) / len(now.norms),
        "items_per_second": round(speed, 1),
        "seconds": round(now.seconds, 1),
    }
