"""Checkpoints of a training: one folder per kept step, whole or absent."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headwater.atomic import is_whole, read_json, sweep, write_json, written_aside
from headwater.errors import UserError
from headwater.training.blocks import put, whole

_PREFIX = "step-"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class State:
    """What a training is at a moment: `step` updates done, everything else a function of the settings."""

    network: nn.Module
    copies: Mapping[str, nn.Module]
    """Networks kept beside it, by file name: their average `ema`, the `best` so far."""
    optimizers: tuple[torch.optim.Optimizer, ...]

    def moments(self, parameter: nn.Parameter) -> dict[str, Any]:
        """What an optimiser remembers of a parameter; empty where it never moved."""
        return next((o.state[parameter] for o in self.optimizers if parameter in o.state), {})

    def optimizer(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """The optimiser that moves a parameter."""
        groups = ((o, group) for o in self.optimizers for group in o.param_groups)
        return next(o for o, group in groups if any(p is parameter for p in group["params"]))


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"{_PREFIX}{step:08d}"


def save(
    folder: Path, step: int, state: State, about: Mapping[str, Any], keep: int, writes: bool = True
) -> Path:
    """Write the checkpoint of a step, then remove all but the `keep` newest.

    writes: whether this process is the one that does; where each holds a share of the weights, all call this.

    Raises UserError when it cannot be written; the older checkpoints are then untouched.
    """
    from safetensors.torch import save_file

    target = folder_of(folder, step)
    if not writes:
        for _ in itertools.chain(*map(_named, (state.network, *state.copies.values())), _moments(state)):
            pass  # collecting takes all; one at a time, it takes no room
        return target
    with written_aside(target) as aside:
        save_file(dict(_named(state.network)), aside / "model.safetensors")
        for name, copy in state.copies.items():
            save_file(dict(_named(copy)), aside / f"{name}.safetensors")
        save_file(dict(_moments(state)), aside / "optimizer.safetensors")
        write_json(aside / "state.json", {"step": step, **about})
    older = [s for s in steps(folder) if s <= step]
    for stale in older[:-keep]:
        shutil.rmtree(folder_of(folder, stale), ignore_errors=True)
    return target


def steps(folder: Path) -> list[int]:
    """Steps with a folder, ascending; not all need be whole."""
    names = (p.name.removeprefix(_PREFIX) for p in folder.glob(f"{_PREFIX}*") if p.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint. Removes what killed saves left behind."""
    sweep(folder)
    candidates = (folder_of(folder, step) for step in reversed(steps(folder)))
    return next((path for path in candidates if is_whole(path)), None)


def about(checkpoint: Path) -> dict[str, Any]:
    """The JSON that was saved along: step, settings, versions, log position."""
    return read_json(checkpoint / "state.json")


def restore(checkpoint: Path, state: State) -> None:
    """Put the saved tensors back, bit for bit. UserError when they do not fit."""
    from safetensors.torch import load_file

    try:
        _load(state.network, load_file(checkpoint / "model.safetensors"))
        for name, copy in state.copies.items():
            _load(copy, load_file(checkpoint / f"{name}.safetensors"))
        saved = load_file(checkpoint / "optimizer.safetensors")
        for name, parameter in state.network.named_parameters():
            if f"step/{name}" not in saved:
                continue  # frozen: it never moved
            state.optimizer(parameter).state[parameter] = {
                "step": saved[f"step/{name}"],
                # The moments live in the memory format of their parameter, as AdamW made them.
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
            for moment in _MOMENTS[1:]:
                put(state.moments(parameter)[moment], saved[f"{moment}/{name}"])
    except (OSError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{checkpoint} does not fit this network ({reason}): start in another folder"
        ) from None


def _load(module: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """As `load_state_dict`, also where this process holds a share of each tensor."""
    mine = module.state_dict()
    other = sorted(mine.keys() ^ saved.keys())
    if other:
        raise KeyError(other[0])
    for name, value in mine.items():
        if value.shape != saved[name].shape:
            raise RuntimeError(f"{name} has shape {tuple(saved[name].shape)}, not {tuple(value.shape)}")
        put(value, saved[name])


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.state_dict().items():
        yield name, whole(value.detach()).cpu().contiguous()


def _moments(state: State) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in state.network.named_parameters():
        moments = state.moments(parameter)
        for moment in _MOMENTS if moments else ():
            yield f"{moment}/{name}", whole(moments[moment].detach()).cpu().contiguous()
