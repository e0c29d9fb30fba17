"""Networks from untrusted descriptions: built without memory, compared with the weights, then filled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from headwater.errors import need
from headwater.models.opcodes import Entry
from headwater.models.state import unexpected

Parts = dict[str, nn.Module | Tensor]
"""Networks and plain tensors by name."""
_SPARE = 64


def assembled(parts: Parts) -> nn.Module:
    """All parts under one module, by name."""
    root = nn.Module()
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            root.add_module(name, part)
        else:
            root.register_buffer(name, part)
    return root


def blueprint(
    build: Callable[[], nn.Module], entries: Mapping[str, Entry], sentence: Callable[[str], str]
) -> nn.Module:
    """The network that `build` makes, on the meta device: nothing of its size is allocated.

    entries: what the weights file holds. A description of many more layers than that is given up half-way,
    since even layers without numbers take memory. Raises UserError when names or shapes differ, in the
    `sentence` made of what is wrong.
    """
    here, most, registered = threading.get_ident(), 2 * len(entries) + _SPARE, 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal registered
        registered += threading.get_ident() == here
        need(registered <= most, sentence(f"{len(entries)} tensors are too few for what is described"))

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            network = build()
    finally:
        hook.remove()
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    wrong = unexpected(shapes, {k: e.shape for k, e in entries.items()})
    need(not wrong, sentence(wrong))
    for name, value in network.state_dict().items():
        kind = str(entries[name].dtype).removeprefix("torch.")
        real = entries[name].dtype.is_floating_point or not value.is_floating_point()
        need(real, sentence(f"{name} is of type {kind}, as quantised weights are, and floats are needed"))
    return network


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Put a state of the right names and shapes into a `blueprint`: float32, on the CPU, not training."""
    # Copies, since what was loaded may still be the file itself, mapped into memory: where somebody writes
    # over such a file, a process that still reads it is killed.
    own = {
        k: v.to(torch.float32 if v.is_floating_point() else v.dtype, copy=True).contiguous()
        for k, v in state.items()
    }
    network.load_state_dict(own, strict=True, assign=True)
    return network.eval().requires_grad_(True)
