"""What items hold, as one number: so that a training does not go on with others."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
from torch import Tensor


def digest(value: Any) -> str:
    """SHA-256 of tensors, arrays, texts and whatever lists and dataclasses hold of them."""
    found = hashlib.sha256()
    _add(found, value)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        found.update(f"{value.dtype.str}{value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (list, tuple)):
        found.update(f"[{len(value)}".encode())
        for each in value:
            _add(found, each)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _add(found, getattr(value, field.name))
    else:
        found.update(repr(value).encode("utf-8", "surrogateescape"))
