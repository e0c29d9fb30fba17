"""The one sampling driver: every method that denoises does so here, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec

import torch
from torch import Tensor

from headwater.core import Ancestral, Control, Sampler, reverse
from headwater.core.prediction import Denoises
from headwater.errors import need
from headwater.modes import evaluating
from headwater.noise import Noise
from headwater.progress import ProgressBar
from headwater.sampling.run import Batch, Key, Run


@dataclass(frozen=True, eq=False)
class Start:
    """How the loop of one batch begins."""

    x: Tensor
    """The state at the first timestep, (samples, ...)."""
    controls: Sequence[Control] = ()
    """What reaches into its steps."""
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """What the network is told beside x and t."""


P = ParamSpec("P")
Begin = Callable[[Batch], Start]
"""A batch -> how its loop begins. Its draws come from `batch.noise`, with which the loop goes on."""


def sample_batches(
    denoiser: Denoises,
    timesteps: Sequence[int],
    n: int,
    begin: Begin,
    run: Run,
    *,
    sampler: Sampler | None = None,
    law: Noise | None = None,
    draws: int = 1,
    key: Key | None = None,
    label: str = "samples",
) -> Iterator[tuple[Batch, Tensor]]:
    """Denoise `draws` samples of each of n items: each batch and where it ended, (samples, ...).

    law, draws, key: as `Run.batches` takes them, so that a sample depends neither on its batch nor on the
    others. No gradient flows out; a control that needs one inside a step has it. Raises UserError where there
    is nothing to sample.
    """
    need(
        n >= 1 and draws >= 1,
        f"there are no {label} to compute: give one item or more, and draw at least one",
    )
    sampler = sampler or Ancestral()
    batches, steps = run.batches(n, law, draws=draws, key=key), len(sampler.plan(timesteps)) - 1
    with ProgressBar(len(batches) * steps, label, unit="steps", shown=run.progress) as progress:
        for batch in batches:
            with torch.no_grad(), evaluating(denoiser):
                start = begin(batch)
            x, differentiates = start.x, any(control.needs_grad for control in start.controls)
            mode = torch.no_grad() if differentiates else torch.inference_mode()
            with mode, evaluating(denoiser):
                for step in reverse(
                    denoiser, x, timesteps, sampler, start.controls, batch.noise, **start.conditions
                ):
                    x = step.x
                    progress.update()
            yield batch, x


def _joined(driver: Callable[P, Iterator[tuple[Batch, Tensor]]]) -> Callable[P, Tensor]:
    """The same driver, called in the same way, whose samples come in one piece."""

    def joined(*given: P.args, **how: P.kwargs) -> Tensor:
        return torch.cat([x.cpu() for _, x in driver(*given, **how)])

    return joined


sample = _joined(sample_batches)
"""As `sample_batches`: all samples, (n * draws, ...) in main memory, those of one item together."""
