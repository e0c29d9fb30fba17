"""A dry run of a checkpoint's pickle: what it would build, without building or calling anything.

Only the instructions that state dicts need are known. Every global outside a closed table is refused by
name, and tensors become their type, shape and place in the file, so sizes can be checked beforehand.
The instruction set is that of Python's pickletools documentation.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from headwater.errors import UserError, need

MOST_INSTRUCTIONS = 1_500_000
RANK_LIMIT = 8

STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """Type and shape of one tensor, read without reading its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Storage:
    """A block of numbers that the pickle refers to: `count` elements under a key."""

    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True)
class Global:
    """A name that the pickle mentions; it is never imported."""

    name: str


class Malformed(Exception):
    """The pickle is broken or is not that of a state dict."""


_MARK = object()


def foretell(raw: bytes, where: str) -> tuple[Any, dict[str, Storage]]:
    """What a state dict's pickle holds (tensors as `Entry`), and its storages by key.

    Raises UserError naming the global when one is not in the table, and for anything malformed.
    """
    try:
        return _Machine(where).run(raw)
    except UserError:
        raise
    except Exception:  # a hostile file can fail in as many ways as there are instructions
        raise UserError(
            f"{where} is broken or is no file of tensors: get another copy or save plain state_dict()"
        ) from None


class _Machine:
    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.table: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": lambda: {},
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_parameter": lambda tensor, *rest: tensor,
            "torch.Size": lambda values: tuple(values),
        }

    def run(self, raw: bytes) -> tuple[Any, dict[str, Storage]]:
        for count, (code, value, _) in enumerate(pickletools.genops(raw)):
            if count > MOST_INSTRUCTIONS:
                raise Malformed
            if code.name == "STOP":
                return self.stack[-1], self.storages
            self._step(code.name, value)
        raise Malformed

    def _step(self, name: str, value: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "INT" | "LONG" | "BINFLOAT" | "FLOAT":
                stack.append(value)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "UNICODE" | "SHORT_BINSTRING" | "BINSTRING":
                stack.append(value)
            case "TUPLE" | "LIST" | "DICT":
                items = self._to_mark()
                pairs = dict(zip(items[::2], items[1::2], strict=True)) if name == "DICT" else {}
                stack.append({"TUPLE": tuple(items), "LIST": items, "DICT": pairs}[name])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memo[value] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[value])
            case "SETITEM" | "SETITEMS":
                self._set(self._to_mark() if name == "SETITEMS" else self._take(2))
            case "APPEND" | "APPENDS":
                self._extend(self._to_mark() if name == "APPENDS" else self._take(1))
            case "GLOBAL" | "INST":
                stack.append(self._known(str(value).replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                stack.append(self._known(".".join(self._take(2))))
            case "BINPERSID":
                stack.append(self._storage(*stack.pop()))
            case "REDUCE":
                self._call(*self._take(2))
            case "BUILD":  # attributes of an OrderedDict, as in a state dict's _metadata
                stack.pop()
                if not isinstance(stack[-1], dict):
                    raise Malformed
            case _:
                raise Malformed

    def _take(self, n: int) -> list[Any]:
        if len(self.stack) < n:
            raise Malformed
        taken = self.stack[-n:]
        del self.stack[-n:]
        return taken

    def _to_mark(self) -> list[Any]:
        at = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _set(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise Malformed
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Malformed
        self.stack[-1].extend(items)

    def _known(self, name: str) -> Global:
        need(
            name in self.table or name in STORAGES,
            f"{self.where} asks to run {name[:120]}: refused; "
            "convert it to safetensors on a machine where you trust it",
        )
        return Global(name)

    def _call(self, called: Any, args: Any) -> None:
        if not isinstance(called, Global) or called.name not in self.table:
            raise Malformed
        self.stack.append(self.table[called.name](*args))

    def _storage(self, kind: str, dtype: Global, key: str, location: str, count: int, *view: None) -> Storage:
        plain = kind == "storage" and type(key) is str and type(count) is int and count >= 0
        storage = Storage(STORAGES[dtype.name], key, count)
        if not plain or any(v is not None for v in view) or self.storages.get(key, storage) != storage:
            raise Malformed
        self.storages[key] = storage
        return storage

    def _tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: Any
    ) -> Entry:
        numbers = (offset, *shape, *stride)
        if len(shape) != len(stride) or len(shape) > RANK_LIMIT:
            raise Malformed
        if any(type(n) is not int or n < 0 for n in numbers):
            raise Malformed
        size = math.prod(shape)
        end = offset + 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        # More elements than the storage has would be one number seen many times over.
        if size and (end > storage.count or size > storage.count):
            raise UserError(
                f"{self.where} describes a tensor of shape {list(shape)} over {storage.count} numbers: "
                "get another copy"
            )
        return Entry(storage.dtype, tuple(shape))
