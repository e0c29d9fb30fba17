"""Reading weights without running anything: every size is checked against the file before allocation."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from headwater.errors import UserError, need

HEADER_LIMIT = 8 << 20
"""Largest safetensors header, in bytes; the largest published image models need under 1 MiB."""
RANK_LIMIT = 8

SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """Type and shape of one tensor, read from a header."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def load_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by name from a weights file, as stored (no change of dtype), on the CPU.

    Raises UserError, in one sentence and before any allocation that the file does not pay for, for a
    file that is broken, lies about its sizes, wants code run, or holds NaN or infinite weights.
    """
    path = Path(path)
    need(path.is_file(), f"there is no file {path}: check the path")
    state = _load_safetensors(path)
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.numel():
            low, high = tensor.aminmax()
            fine = bool(low.isfinite() & high.isfinite())
            need(
                fine,
                f"{path}: {name} holds NaN or infinite weights; use a checkpoint from before it diverged",
            )
    return state


def entries(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """Type and shape of every tensor of a safetensors file, from its header alone."""
    path = Path(path)
    header, _ = safetensors_header(path)
    return {k: Entry(SAFETENSORS[v["dtype"]], tuple(v["shape"])) for k, v in header.items()}


def safetensors_header(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(tensor entries, metadata) of a safetensors file, checked against the file's size."""
    total = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        sound = total >= 8 and 2 <= length <= min(total - 8, HEADER_LIMIT)
        need(sound, f"{path} is not a whole safetensors file (its header length is wrong): get another copy")
        raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_no_twins)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, UserError):
        raise UserError(f"{path} has a safetensors header that is not valid: get another copy") from None
    need(isinstance(header, dict), f"{path} has a safetensors header that is not valid: get another copy")
    metadata = header.pop("__metadata__", {})
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _start(item[1])):
        need(_entry_is_sound(entry, end), f"{path}: the header lies about {name[:80]!r}; get another copy")
        end = entry["data_offsets"][1]
    need(end == total - 8 - length, f"{path} is not as long as its header says: get another copy")
    return header, metadata if isinstance(metadata, dict) else {}


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    need(len(found) == len(pairs), "one name twice")
    return found


def _start(entry: Any) -> int:
    match entry:
        case {"data_offsets": [int(start), int()]}:
            return start
        case _:
            return 0


def _entry_is_sound(entry: Any, start: int) -> bool:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(last)]}:
            plain = all(type(n) is int and n >= 0 for n in shape) and len(shape) <= RANK_LIMIT
            if dtype not in SAFETENSORS or not plain or first != start:
                return False
            return last - first == math.prod(shape) * SAFETENSORS[dtype].itemsize
        case _:
            return False


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    safetensors_header(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): get another copy") from None


def unexpected(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong with the names and shapes of a state, in a few words; empty when nothing is."""
    for name, shape in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != shape:
            return f"{name} has shape {list(found[name])} where {list(shape)} is needed"
    extra = sorted(found.keys() - expected.keys())
    return f"{extra[0]} has no place" if extra else ""
