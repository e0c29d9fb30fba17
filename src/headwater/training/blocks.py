"""The blocks of a network, one at a time: their weights shared between processes, their features recomputed.

The blocks are the members of the network's module lists, the outermost of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from headwater.training.processes import Processes


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost module lists, in order."""
    for part in network.children():
        if isinstance(part, nn.ModuleList):
            for block in part:
                inner = isinstance(block, nn.ModuleList | nn.ModuleDict)
                yield from blocks(nn.ModuleList([block])) if inner else (block,)
        else:
            yield from blocks(part)


@contextmanager
def recomputed(network: nn.Module) -> Iterator[None]:
    """While entered, the backward pass computes each block's features again instead of keeping them."""
    from torch.utils.checkpoint import checkpoint

    found = list(blocks(network))
    for block in found:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in found:
            del block.forward


def shard(network: nn.Module, team: Processes) -> None:
    """Leave this process its share of the weights (FSDP); those of a block are put together when it is used.

    All processes call this alike.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(team.device.type, (team.count,))
    for block in list(blocks(network)):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def whole(value: Tensor) -> Tensor:
    """A tensor of which each process may hold a share; then all must call this."""
    return cast(Any, value).full_tensor() if hasattr(value, "full_tensor") else value


def put(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one of which this process may hold a share; then all must call this."""
    if hasattr(target, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        there: Any = target
        value = distribute_tensor(value.to(there.device), there.device_mesh, there.placements)
    with torch.no_grad():
        target.copy_(value)
