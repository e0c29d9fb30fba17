"""What items or weights hold, as one number: so that work does not go on with others."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def digest(value: Any) -> str:
    """SHA-256 of tensors, arrays, texts and whatever lists, dataclasses and mappings hold of them; of these
    the order does not count."""
    found = hashlib.sha256()
    _add(found, value)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:  # which NumPy does not have
            found.update(b"bfloat16")
            value = value.view(torch.int16)
        value = value.numpy()
    if isinstance(value, np.ndarray):
        found.update(f"{value.dtype.str}{value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (list, tuple)):
        found.update(f"[{len(value)}".encode())
        for each in value:
            _add(found, each)
    elif isinstance(value, Mapping):
        found.update(f"{{{len(value)}".encode())
        for key in sorted(value):
            _add(found, key)
            _add(found, value[key])
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _add(found, getattr(value, field.name))
    else:
        found.update(repr(value).encode("utf-8", "surrogateescape"))
