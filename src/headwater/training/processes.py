"""The processes that work together: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from headwater.errors import LeftAlone, need

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long one process waits for another. One that was killed is noticed at once: its connections close."""


@dataclass(frozen=True)
class Processes:
    """This process among `count`, numbered from 0, and the device that it computes on."""

    device: torch.device
    count: int = 1
    index: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.index == 0

    def mean(self, value: Tensor) -> float:
        """The mean of a scalar over all processes, the same in each."""
        return float(self._summed(value)) / self.count

    def add_gradients(self, network: nn.Module) -> None:
        """Replace the gradients by their sum over all processes; what none of them used stays without."""
        if self.count == 1:
            return
        wanted = [p for p in network.parameters() if p.requires_grad]
        used = torch.tensor([float(p.grad is not None) for p in wanted], device=self.device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in wanted]
        together = torch.cat([part.reshape(-1) for part in parts] + [used])
        torch.distributed.all_reduce(together)
        *sums, used = together.split([*(p.numel() for p in wanted), len(wanted)])
        for parameter, value, number in zip(wanted, sums, used.tolist(), strict=True):
            parameter.grad = value.view_as(parameter).clone() if number else None

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in some process, so that all act alike."""
        if self.count == 1:
            return flag
        return float(self._summed(torch.tensor(float(flag), device=self.device))) > 0

    def shared(self, value: T | None) -> T:
        """The first process's value in all; whoever comes early waits for it."""
        box: list[Any] = [value]
        if self.count > 1:
            torch.distributed.broadcast_object_list(box, device=self.device)
        return box[0]

    def gathered(self, values: list[T]) -> list[T]:
        """The values of all processes, the first one's first."""
        if self.count == 1:
            return values
        boxes: list[list[T]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(boxes, values)
        return [value for box in boxes for value in box]

    def wait(self) -> None:
        """Go on when all have come here."""
        self.any(False)

    def _summed(self, value: Tensor) -> Tensor:
        if self.count > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
        return value


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did; leave them on the way out.

    Raises UserError where the device does not exist, LeftAlone where another process ends before its time.
    """
    wanted = torch.device(device)
    here = wanted.type == "cpu" or torch.get_device_module(wanted).is_available()
    need(here, f"there is no {device} device here: choose device cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(wanted)
        return
    from accelerate import PartialState

    joined = not torch.distributed.is_initialized()
    try:
        state = PartialState(cpu=wanted.type == "cpu", timeout=_PATIENCE)
        yield Processes(state.device or wanted, state.num_processes, state.process_index)
    except RuntimeError as error:
        if not _left_alone(error):
            raise
        raise LeftAlone(
            "another process of this run has ended: what was finished is kept, resume to go on"
        ) from error
    finally:
        if joined and torch.distributed.is_initialized():
            PartialState().destroy_process_group()


def _left_alone(error: RuntimeError) -> bool:
    """Whether an exchange with another process failed: gloo has no exception of its own."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
