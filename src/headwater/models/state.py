"""The one place where weights enter: nothing is run, and nothing allocated that the file does not hold."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from headwater.errors import UserError, need
from headwater.models.headers import kind, safetensors_entries, torch_tree
from headwater.models.opcodes import Entry

NESTS = (
    *("ema", "ema_state_dict", "model_ema", "params_ema"),
    *("state_dict", "model_state_dict", "model", "params", "module", "network", "unet", "net"),
)
"""Keys under which trainers put a state dict, averaged weights first."""
AVERAGES = ("ema", "shadow_params")
"""Where score-SDE's trainer puts the averaged weights: a list, in the order of the state dict's names."""


@dataclass(frozen=True)
class Contents:
    """What a weights file holds, from its headers."""

    format: str
    """"safetensors" or "torch"."""
    entries: dict[str, Entry]
    """Type and shape of every tensor of the state dict."""
    nest: str = ""
    """The key under which the state dict lies; empty at the top."""
    averaged: tuple[str, ...] = ()
    """Names whose tensors are taken from the list of averages instead, in its order."""
    prefix: str = ""
    """What all names begin with and `load_state` takes off."""


def contents(path: str | os.PathLike[str]) -> Contents:
    """Names, types and shapes of a weights file. Reads headers only; raises UserError as `load_state`."""
    path = Path(path)
    need(path.is_file(), f"there is no file {path}: check the path")
    if kind(path) == "safetensors":
        entries, nest, averaged = safetensors_entries(path)[0], "", ()
    else:
        tree = torch_tree(path)
        entries, nest = _unwrapped(tree, path)
        averaged = _averaged(entries, _averages(tree) if nest else [], path)
        held = sum(e.size * e.dtype.itemsize for e in entries.values())
        need(held <= 2 * path.stat().st_size, f"{path} shows the same numbers as many tensors: refused")
    need(bool(entries), f"{path} holds no tensors: give a file with a state dict")
    prefix = "module." if all(name.startswith("module.") for name in entries) else ""
    plain = {k.removeprefix(prefix): v for k, v in entries.items()}
    return Contents(kind(path), plain, nest, averaged, prefix)


def load_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or one of torch.save, as stored, on the CPU.

    Usual nestings ({"state_dict": ...}, {"ema": ...}) and the prefix `module.` are taken off, and averaged
    weights are preferred. Raises UserError, in one sentence, for a file that is broken, lies about its sizes,
    wants anything run (the name is given), or holds NaN or infinite weights. There is no fallback to a full
    pickle.
    """
    path = Path(path)
    found = contents(path)
    try:
        state = load_file(path) if found.format == "safetensors" else _load_torch(path, found)
    except Exception as error:  # what two libraries may raise at a file that passed the checks above
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read ({reason}): get another copy") from None
    state = {k.removeprefix(found.prefix): v for k, v in state.items() if isinstance(v, Tensor)}
    seen = {k: Entry(v.dtype, tuple(v.shape)) for k, v in state.items()}
    need(seen == found.entries, f"{path} holds other tensors than its headers say: refused")
    for name, tensor in state.items():
        need(_is_finite(tensor), f"{path}: {name} holds NaN or infinite weights; use an earlier checkpoint")
    return state


def unexpected(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong with the names and shapes of a state, in a few words; empty when nothing is."""
    for name, shape in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != shape:
            return f"{name} has shape {list(found[name])} where {list(shape)} is needed"
    extra = sorted(found.keys() - expected.keys())
    return f"{extra[0]} has no place" if extra else ""


def _load_torch(path: Path, found: Contents) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on old pickle protocols
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state = tree[found.nest] if found.nest else tree
    return {**state, **dict(zip(found.averaged, _averages(tree), strict=True))} if found.averaged else state


def _averages(tree: Any) -> list[Any]:
    """The list of averaged weights of score-SDE's checkpoints; empty in others."""
    for key in AVERAGES:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, list) else []


def _averaged(entries: Mapping[str, Entry], averages: list[Any], path: Path) -> tuple[str, ...]:
    """The names that a list of averages belongs to; frozen tensors have none and are passed over."""
    names, left = [], list(reversed(averages))
    for name, entry in entries.items():
        if left and left[-1] == entry:
            left.pop()
            names.append(name)
    need(not left, f"{path} averages other weights than it holds: save the averaged state_dict()")
    return tuple(names)


def _unwrapped(tree: Any, path: Path) -> tuple[dict[str, Entry], str]:
    """The tensors of the state dict within a checkpoint, and the key it lies under."""
    for nest in ("", *NESTS):
        inside = tree.get(nest) if nest and isinstance(tree, dict) else tree
        if isinstance(inside, dict) and any(isinstance(v, Entry) for v in inside.values()):
            need(all(type(k) is str for k in inside), f"{path} has tensors without names: save state_dict()")
            return {k: v for k, v in inside.items() if isinstance(v, Entry)}, nest
    raise UserError(f"{path} holds no state dict: save the network's state_dict() and give that file")


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.aminmax()
    return bool(low.isfinite() & high.isfinite())
