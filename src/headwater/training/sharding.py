"""One network over several processes, each of which holds its share of every weight (FSDP)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from headwater.training.processes import Processes


def shard(network: nn.Module, team: Processes) -> None:
    """Leave this process its share of the weights; those of one block at a time are put together in use.

    The network's blocks are the members of its module lists. All processes call this alike.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(team.device.type, (team.count,))
    for part in network.children():
        for block in part if isinstance(part, nn.ModuleList) else ():
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
