"""The reverse loop: a generator, so the caller's `for` is the callback.

for each pair (t, s) of the timesteps            t > s denoises, t = s corrects, t < s adds noise again

    x_t ── control.before ──> denoiser ──> prediction ── control.denoised ──> sampler.step
                                                                                  │
    x_s <── control.after <── draw from `noise` <── control.transition <── distribution of x_s

A climb (t < s) is one draw of `process.advance`: no network call, no control. The sampler returns a
distribution and draws nothing; all randomness is in `noise`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from headwater.core.control import Control
from headwater.core.prediction import Denoises, Prediction
from headwater.core.sampler import Ancestral, Sampler, State
from headwater.core.transition import AmbientNoise, NoiseSource


@dataclass(frozen=True, eq=False)
class Step:
    """One finished step of a walk: from level t to level s. `pred` is None where the plan climbed."""

    t: int
    s: int
    x: Tensor
    pred: Prediction | None


def reverse(
    denoiser: Denoises,
    x: Tensor,
    plan: Sequence[int],
    sampler: Sampler | None = None,
    controls: Sequence[Control] = (),
    noise: NoiseSource | None = None,
    keep_graph: bool = False,
    **cond: Any,
) -> Iterator[Step]:
    """Walk x (B, ...) at level plan[0] along the plan.

    noise: where every draw comes from; without one, from torch's global generator.
    keep_graph: let gradients flow through the whole walk (otherwise each step is detached).
    cond: conditions of the network, passed on as they are.

    Raises ValueError at once for a plan outside 0..T or one that starts at 0, and for a control that
    edits x between the steps of a multistep sampler.
    """
    sampler = sampler or Ancestral()
    levels = _checked(sampler.plan(plan), denoiser.process.T)
    editing = [type(c).__name__ for c in controls if c.edits_x]
    if sampler.multistep and editing:
        raise ValueError(
            f"{', '.join(editing)} changes x between steps, which {type(sampler).__name__} builds on: "
            "use Ancestral or DDIM"
        )
    return _walk(denoiser, x, levels, sampler, controls, noise or AmbientNoise(), keep_graph, cond)


def _walk(
    denoiser: Denoises,
    x: Tensor,
    levels: list[int],
    sampler: Sampler,
    controls: Sequence[Control],
    noise: NoiseSource,
    keep_graph: bool,
    cond: dict[str, Any],
) -> Iterator[Step]:
    q = denoiser.process
    state: State = None
    pred: Prediction | None = None
    differentiate = keep_graph or any(c.needs_grad for c in controls)
    for i, (t, s) in enumerate(pairwise(levels)):
        if s > t:
            x, state, pred = q.advance(x, t, s, noise), None, None
            yield Step(t, s, x, None)
            continue
        for c in controls:
            x = c.before(x, t)
        # Never hold the grad mode across a yield: it is the caller's.
        with torch.set_grad_enabled(differentiate):
            if differentiate and not keep_graph:
                x = x.detach().requires_grad_()
            pred = denoiser(x, t, pred, **cond)
            for c in controls:
                pred = c.denoised(pred)
            dist, state = sampler.step(q, pred, s, state)
            for c in controls:
                dist = c.transition(dist, pred, s)
            x = dist.sample(noise, t)
        if not keep_graph:
            x = x.detach()
        for c in controls:
            x = c.after(x, s, i)
        yield Step(t, s, x, pred)


def last(steps: Iterator[Step]) -> Tensor:
    """Walk to the end and return x there, (B, ...)."""
    (end,) = deque(steps, maxlen=1)
    return end.x


def _checked(levels: list[int], T: int) -> list[int]:
    if len(levels) < 2:
        raise ValueError("a plan needs at least two levels: where to start and where to end")
    if min(levels) < 0 or max(levels) > T:
        raise ValueError(f"the plan visits {min(levels)}..{max(levels)}, the process has levels 0..{T}")
    if any(t == 0 and s == 0 for t, s in pairwise(levels)):
        raise ValueError("the plan stays at level 0, where there is nothing left to denoise")
    return levels
