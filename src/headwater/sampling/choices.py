"""What a user chooses by name or number: the sampler, the timesteps, the scale of guidance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from headwater.core import (
    DDIM,
    Ancestral,
    ClassifierFree,
    Denoises,
    Diffusion,
    DPMSolver,
    Heun,
    Sampler,
    descend,
    respaced,
)
from headwater.core.timesteps import log_snr
from headwater.discrete import Discrete
from headwater.errors import UserError

SamplerName = Literal["ancestral", "ddim", "dpm-solver", "dpm-solver-sde", "heun"]
Spacing = Literal["respaced", "even", "log-snr"]
Variance = Literal["small", "large", "learned"]

_SPEC = re.compile(r"fast27|(ddim)?[1-9]\d*|[1-9]\d*(,[1-9]\d*)+")


def sampler_of(name: SamplerName, variance: Variance = "small") -> Sampler:
    """The sampler of that name. variance: that of `ancestral`."""
    known: dict[str, Sampler] = {
        "ancestral": Ancestral(variance),
        "ddim": DDIM(),
        "dpm-solver": DPMSolver(),
        "dpm-solver-sde": DPMSolver(kind="sde"),
        "heun": Heun(),
    }
    if name not in known:
        raise UserError(f"sampler is {name!r}: choose one of {', '.join(known)}")
    return known[name]


def timesteps_of(
    process: Diffusion | Discrete | int, steps: int | str | None = None, spacing: Spacing = "respaced"
) -> list[int]:
    """The timesteps that a loop of so many steps visits, from T down to 0.

    process: or T, its number of timesteps, where they are not spaced by its noise.
    steps: a number, OpenAI's respacing ("10,10,3,2,2", "ddim50", "fast27"), or None for all.
    spacing: as OpenAI respaces, even, or even in log(alpha / sigma).
    Raises UserError for steps that the process has not.
    """
    T = process if isinstance(process, int) else process.T
    try:
        if isinstance(steps, str) and not (spacing == "respaced" and _SPEC.fullmatch(steps)):
            raise ValueError(steps)
        n = T if steps is None else steps
        if isinstance(n, int) and not 1 <= n <= T:
            raise ValueError(n)
        if spacing == "respaced":
            return respaced(T, n)
        return descend(T, int(n)) if spacing == "even" else log_snr(process, int(n))  # pyright: ignore[reportArgumentType]
    except ValueError:
        form = f"a number from 1 to {T}"
        if isinstance(steps, str):
            form += (
                f', counts per section that fit into {T} timesteps, as "10,10,3,2,2", or "ddim50" or "fast27"'
            )
        raise UserError(f"steps is {steps!r}, and there are {T} timesteps: give {form}") from None


def guided(denoiser: Denoises, guidance_scale: float, null: Mapping[str, Tensor]) -> Denoises:
    """Classifier-free guidance: x0(null) + guidance_scale (x0(condition) - x0(null)).

    guidance_scale: 1 is none and costs nothing, 0 ignores the condition. null: see `ClassifierFree`.
    """
    return denoiser if guidance_scale == 1 else ClassifierFree(denoiser, guidance_scale, dict(null))
