"""A trained prior: network, process and the meaning of the network's output, in one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from headwater.core import (
    Ancestral,
    Clip,
    Control,
    Denoiser,
    Diffusion,
    Noise,
    Sampler,
    descend,
    last,
    reverse,
)
from headwater.core.plan import network_calls
from headwater.priors.config import PriorConfig
from headwater.run import Run


@dataclass(frozen=True, eq=False)
class Prior:
    """One diffusion model over pictures (C, H, W) in [-1, 1].

    network: the raw module, network(x, labels, y=...); config: everything else about it.
    """

    network: nn.Module
    config: PriorConfig
    source: str = field(default="", compare=False)
    """Where it was read from, for the record."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the pictures that it was trained on."""
        return self.config.shape

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network told how to read its output."""
        return self.config.denoiser(self.network)

    @property
    def process(self) -> Diffusion:
        """The forward process."""
        return self.denoiser.process

    @cached_property
    def noise(self) -> Noise:
        """The noise law that it was trained with."""
        return self.config.law()

    @property
    def controls(self) -> list[Control]:
        """What keeps estimates within the range of the data; empty for unbounded data."""
        return [Clip()] if self.config.clip else []

    def to(self, device: str) -> Prior:
        """The same prior with its network on a device."""
        self.network.to(device)
        return self

    def sample(
        self,
        n: int,
        run: Run | None = None,
        plan: Sequence[int] | None = None,
        sampler: Sampler | None = None,
        **cond: Any,
    ) -> Tensor:
        """Draw n pictures, (n, C, H, W) in the range of the data.

        plan: levels to visit, all by default. sampler: `Ancestral` by default. cond: conditions of the
        network; tensors have n rows. Sample i depends on run.seed and i alone.
        """
        run = run or Run()
        sampler = sampler or Ancestral("learned" if self.config.variance != "fixed" else "small")
        plan = list(plan or descend(self.process.T))
        out = []
        for rows, part in run.chunks(n):
            size = rows.stop - rows.start
            noise = part.stream(size, self.noise)
            like = torch.empty(size, *self.shape, device=run.device)
            here = {k: v[rows] if isinstance(v, Tensor) else v for k, v in cond.items()}
            with torch.inference_mode():
                x = self.process.start(like, noise)
                steps = reverse(self.denoiser, x, plan, sampler, self.controls, noise, **here)
                total = network_calls(sampler.plan(plan))
                out.append(last(part.watch(steps, total, f"samples {rows.start + 1}-{rows.stop} of {n}")))
        return torch.cat(out)
