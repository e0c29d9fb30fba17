"""The one place where weights enter: nothing is run, and nothing allocated that the file does not hold."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from headwater.errors import UserError, need
from headwater.models import shards
from headwater.models.headers import kind, safetensors_entries, torch_tree
from headwater.models.opcodes import Entry

AVERAGED_NESTS = ("ema", "ema_state_dict", "model_ema", "params_ema", "ema_model", "ema_network")
NESTS = ("state_dict", "model_state_dict", "model", "params", "module", "network", "unet", "net")
"""Keys under which trainers put a state dict, averaged or as they stand."""
WITHIN = (*NESTS, "shadow", "shadow_params")
"""Keys of a state dict within one of these."""
AVERAGES = ("ema", "shadow_params")
"""Where score-SDE's trainer puts the averaged weights: a list, in the order of the state dict's names."""
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into names; DDP's `module.` stands in front."""


@dataclass(frozen=True)
class Contents:
    """What a weights file holds, from its headers."""

    format: str
    """"safetensors" or "torch"."""
    entries: dict[str, Entry]
    """Type and shape of every tensor of the state dict, by its plain name."""
    nest: str = ""
    """The keys under which the state dict lies, joined by dots; empty at the top."""
    averaged: tuple[str, ...] = ()
    """Names whose tensors are taken from the list of averages instead, in its order."""
    names: dict[str, str] = field(default_factory=dict)
    """Plain names of the tensors by those in the file; tensors without one are not used."""
    remark: str = ""
    """What was chosen among several sets of weights; empty where there was no choice."""


def contents(path: str | os.PathLike[str], under: str = "") -> Contents:
    """Names, types and shapes of a weights file, or of several by their index.

    Reads headers only; arguments and errors are those of `load_state`.
    """
    path = Path(path)
    need(path.is_file(), f"there is no file {path}: check the path")
    if not shards.is_index(path):
        return _contents(path, under)
    held = {file: _contents(file, under) for file in shards.files(path)}
    entries: dict[str, Entry] = {}
    for file, found in held.items():
        twice = sorted(entries.keys() & found.entries.keys())
        need(not twice, f"{file} holds {', '.join(twice[:1])}, which another file of {path.name} holds too")
        entries |= found.entries
    _compare_with_index(path, held)
    first = next(iter(held.values()))
    return Contents(first.format, entries, names={k: v for c in held.values() for k, v in c.names.items()})


def _compare_with_index(index: Path, held: Mapping[Path, Contents]) -> None:
    for tensor, file in shards.places(index).items():
        stands = tensor in held[file].names
        need(stands, f"{index} says that {file.name} holds {tensor}, and it does not: get another copy")
    named = shards.places(index).keys()
    more = [name for found in held.values() for name in found.names if name not in named]
    need(not more, f"{index} does not name {', '.join(more[:1])}, which its files hold: get another copy")


def _contents(path: Path, under: str) -> Contents:
    if kind(path) == "safetensors":
        entries, nest, averaged, remark = safetensors_entries(path)[0], "", (), ""
    else:
        tree = torch_tree(path)
        entries, nest, remark = _unwrapped(tree, path)
        averaged = _averaged(entries, _averages(tree) if nest else [], path)
        held = sum(e.size * e.dtype.itemsize for e in entries.values())
        need(held <= 2 * path.stat().st_size, f"{path} shows the same numbers as many tensors: refused")
        if averaged:
            remark = f"the averaged weights ({'.'.join(AVERAGES)}) are taken, not those under {nest!r}"
    need(bool(entries), f"{path} holds no tensors: give a file with a state dict")
    names = _plain_names(entries, under, path)
    plain = {new: entries[old] for old, new in names.items()}
    return Contents(kind(path), plain, nest, averaged, names, remark)


def load_state(path: str | os.PathLike[str], under: str = "") -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or one of torch.save, as stored, on the CPU.

    path: a file, or the index of several (diffusers' `.index.json`). under: tensors whose names begin so, and
    without that; others are left out.

    Usual nestings ({"state_dict": ...}, {"ema": ...}) and what DDP, FSDP and torch.compile put into names are
    taken off, and averaged weights are preferred. Raises UserError, in one sentence, for a file that is
    broken, lies about its sizes, wants anything run (the name is given), holds several sets of weights of
    which none is the averaged one, or holds NaN or infinite weights. There is no fallback to a full pickle.
    """
    path = Path(path)
    found = contents(path, under)
    state: dict[str, Tensor] = {}
    for file in shards.files(path):
        try:
            read = load_file(file) if found.format == "safetensors" else _load_torch(file, found)
        except Exception as error:  # what two libraries may raise at a file that passed the checks above
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise UserError(f"{file} cannot be read ({reason}): get another copy") from None
        state |= {found.names[k]: v for k, v in read.items() if isinstance(v, Tensor) and k in found.names}
    seen = {k: Entry(v.dtype, tuple(v.shape)) for k, v in state.items()}
    need(seen == found.entries, f"{path} holds other tensors than its headers say: refused")
    for name, tensor in state.items():
        need(_is_finite(tensor), f"{path}: {name} holds NaN or infinite weights; use an earlier checkpoint")
    return state


def unexpected(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong with the names and shapes of a state, in a few words; empty when nothing is."""
    missing = [name for name in expected if name not in found]
    extra = sorted(found.keys() - expected.keys())
    other = [
        f"{name} has shape {list(found[name])} where {list(shape)} is needed"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    words: list[str] = []
    if missing:
        words.append(f"{_few(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    if other:
        words.append(other[0] + (f" and {len(other) - 1} more have other shapes" if other[1:] else ""))
    if extra:
        words.append(f"{_few(extra)} {'has' if len(extra) == 1 else 'have'} no place")
    return ", ".join(words)


def _few(names: Sequence[str]) -> str:
    """Two names at most, and how many there are."""
    return (
        names[0]
        if len(names) == 1
        else f"{len(names)} tensors ({', '.join(names[:2])}{', ...' * (len(names) > 2)})"
    )


def _plain_names(entries: Mapping[str, Entry], under: str, path: Path) -> dict[str, str]:
    """The names of a state dict -> those that its network gave, for all below `under`."""
    names = {name: name for name in entries}
    for wrapper in WRAPPERS:
        names = {old: new.replace(wrapper, "") for old, new in names.items()}
    while all(new.startswith("module.") for new in names.values()):
        names = {old: new.removeprefix("module.") for old, new in names.items()}
    names = {old: new.removeprefix(under) for old, new in names.items() if new.startswith(under)}
    need(len(set(names.values())) == len(names), f"{path} holds a tensor twice, compiled and not: keep one")
    need(all(names.values()), f"{path} has a tensor without a name: save state_dict()")
    return names


def _load_torch(path: Path, found: Contents) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on old pickle protocols
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state = _at(tree, found.nest)
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


def _unwrapped(tree: Any, path: Path) -> tuple[dict[str, Entry], str, str]:
    """The tensors of the state dict within a checkpoint, the keys it lies under, and why it was chosen."""
    averaged, plain = (
        [
            nest
            for key in keys
            for nest in (key, *(f"{key}.{inner}" for inner in WITHIN))
            if _tensors(tree, nest)
        ]
        for keys in (AVERAGED_NESTS, NESTS)
    )
    for found in (averaged, plain):
        need(
            len(found) < 2,
            f"{path} holds several sets of weights ({', '.join(found)}): save the one that you want alone",
        )
    nest = next((nest for nest in (*averaged, *plain, "") if _tensors(tree, nest)), None)
    if nest is None:
        raise UserError(_no_state(tree, path))
    inside = _tensors(tree, nest)
    need(all(type(k) is str for k in inside), f"{path} has tensors without names: save state_dict()")
    several = averaged and plain
    remark = f"the averaged weights ({nest}) are taken, not those under {plain[0]!r}" if several else ""
    return inside, nest, remark


def _no_state(tree: Any, path: Path) -> str:
    if isinstance(tree, dict) and {"state", "param_groups"} <= tree.keys():
        return f"{path} holds the state of an optimiser, no weights: give the file of the model beside it"
    return f"{path} holds no state dict: save the network's state_dict() and give that file"


def _at(tree: Any, nest: str) -> Any:
    """What lies under keys joined by dots; None where nothing does."""
    for key in nest.split(".") if nest else ():
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _tensors(tree: Any, nest: str) -> dict[str, Entry]:
    inside = _at(tree, nest)
    return {k: v for k, v in inside.items() if isinstance(v, Entry)} if isinstance(inside, dict) else {}


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.aminmax()
    return bool(low.isfinite() & high.isfinite())
