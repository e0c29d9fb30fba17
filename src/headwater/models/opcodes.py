"""A dry run of a checkpoint's pickle: what it would build, without building or calling anything.

Only the instructions that state dicts need are known, each takes bounded time, and no key of a dict is hashed
but texts and numbers, whose hashes nobody can choose to be alike. Every global outside a closed table is
refused by name, and tensors become their type, shape and place in the file, so sizes can be checked
beforehand. The instruction set is that of Python's pickletools documentation.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from headwater.errors import UserError, need

MOST_INSTRUCTIONS = 1_500_000
RANK_LIMIT = 8
_MOST_ARGUMENTS = 16
_ONE_HASH = (1 << 61) - 1
"""Whole numbers below this have hashes of their own."""
_STOP = ord(".")

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


_DOES = {
    ord(code): name
    for code, name in (
        *(
            ("\x80", "_skip_1"),
            ("\x95", "_skip_8"),
            ("(", "_mark"),
            ("}", "_empty_dict"),
            ("]", "_empty_list"),
        ),
        *((")", "_empty_tuple"), ("N", "_none"), ("\x88", "_true"), ("\x89", "_false"), ("J", "_binint")),
        *(("K", "_binint1"), ("M", "_binint2"), ("\x8a", "_long1"), ("I", "_int"), ("L", "_long")),
        *(("G", "_binfloat"), ("F", "_float"), ("X", "_binunicode"), ("\x8c", "_short_binunicode")),
        *(("V", "_unicode"), ("U", "_short_binstring"), ("T", "_binstring"), ("t", "_tuple"), ("l", "_list")),
        *(("d", "_dict"), ("\x85", "_tuple1"), ("\x86", "_tuple2"), ("\x87", "_tuple3"), ("p", "_put")),
        *(("q", "_binput"), ("r", "_long_binput"), ("\x94", "_memoize"), ("g", "_get"), ("h", "_binget")),
        *(("j", "_long_binget"), ("s", "_setitem"), ("u", "_setitems"), ("a", "_append"), ("e", "_appends")),
        *(("c", "_global"), ("i", "_inst"), ("\x93", "_stack_global"), ("Q", "_binpersid"), ("R", "_reduce")),
        ("b", "_build"),
    )
}
"""The instructions that state dicts need, by their byte."""


def foretell(raw: bytes, where: str) -> tuple[Any, dict[str, Storage]]:
    """What a state dict's pickle holds (tensors as `Entry`), and its storages by key.

    Raises UserError naming the global when one is not in the table, and for anything malformed.
    """
    try:
        return _Machine(raw, where).run()
    except UserError:
        raise
    except Exception:  # a hostile file can fail in as many ways as there are instructions
        raise UserError(
            f"{where} is broken or is no file of tensors: get another copy or save plain state_dict()"
        ) from None


class _Machine:
    """Each instruction takes a time that is bounded by what it adds to the stack or takes off it."""

    def __init__(self, raw: bytes, where: str) -> None:
        self.raw, self.at, self.where = raw, 0, where
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """What lies under each mark."""
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.table: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": lambda: {},
            "torch._utils._rebuild_tensor_v2": self._rebuilt,
            "torch._utils._rebuild_tensor": self._rebuilt,
            "torch._utils._rebuild_parameter": lambda tensor, *rest: tensor,
            "torch.Size": lambda values: tuple(values[: RANK_LIMIT + 1]),
        }

    def run(self) -> tuple[Any, dict[str, Storage]]:
        raw, does = self.raw, {code: getattr(self, name) for code, name in _DOES.items()}
        for _ in range(MOST_INSTRUCTIONS):
            code = raw[self.at]
            self.at += 1
            if code == _STOP:
                return self.stack[-1], self.storages
            does[code]()
        raise Malformed

    # What follows an instruction in the file.

    def _bytes(self, count: int) -> bytes:
        taken = self.raw[self.at : self.at + count]
        if len(taken) < count:
            raise Malformed
        self.at += count
        return taken

    def _number(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "little")

    def _line(self) -> bytes:
        end = self.raw.index(b"\n", self.at)
        line = self.raw[self.at : end]
        self.at = end + 1
        return line

    # Instructions, called as pickletools calls them.

    def _skip_1(self) -> None:
        self._bytes(1)

    def _skip_8(self) -> None:
        self._bytes(8)

    def _mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _empty_dict(self) -> None:
        self.stack.append({})

    def _empty_list(self) -> None:
        self.stack.append([])

    def _empty_tuple(self) -> None:
        self.stack.append(())

    def _none(self) -> None:
        self.stack.append(None)

    def _true(self) -> None:
        self.stack.append(True)

    def _false(self) -> None:
        self.stack.append(False)

    def _binint(self) -> None:
        self.stack.append(int.from_bytes(self._bytes(4), "little", signed=True))

    def _binint1(self) -> None:
        self.stack.append(self._number(1))

    def _binint2(self) -> None:
        self.stack.append(self._number(2))

    def _long1(self) -> None:
        self.stack.append(int.from_bytes(self._bytes(self._number(1)), "little", signed=True))

    def _int(self) -> None:
        line = self._line()
        self.stack.append(line == b"01" if line in (b"00", b"01") else int(line))

    def _long(self) -> None:
        self.stack.append(int(self._line().removesuffix(b"L")))

    def _binfloat(self) -> None:
        self.stack.append(struct.unpack(">d", self._bytes(8))[0])

    def _float(self) -> None:
        self.stack.append(float(self._line()))

    def _binunicode(self) -> None:
        self.stack.append(self._bytes(self._number(4)).decode("utf-8", "surrogatepass"))

    def _short_binunicode(self) -> None:
        self.stack.append(self._bytes(self._number(1)).decode("utf-8", "surrogatepass"))

    def _unicode(self) -> None:
        self.stack.append(self._line().decode("raw-unicode-escape"))

    def _short_binstring(self) -> None:
        self.stack.append(self._bytes(self._number(1)).decode("latin-1"))

    def _binstring(self) -> None:
        self.stack.append(self._bytes(self._number(4)).decode("latin-1"))

    def _tuple(self) -> None:
        items = self._to_mark()  # first, since it is another stack after that
        self.stack.append(tuple(items))

    def _list(self) -> None:
        items = self._to_mark()
        self.stack.append(items)

    def _dict(self) -> None:
        items = self._to_mark()
        self.stack.append({})
        self._set(items)

    def _tuple1(self) -> None:
        self.stack.append(tuple(self._take(1)))

    def _tuple2(self) -> None:
        self.stack.append(tuple(self._take(2)))

    def _tuple3(self) -> None:
        self.stack.append(tuple(self._take(3)))

    def _put(self) -> None:
        self._keep(int(self._line()[:12]))

    def _binput(self) -> None:
        self._keep(self._number(1))

    def _long_binput(self) -> None:
        self._keep(self._number(4))

    def _memoize(self) -> None:
        self._keep(len(self.memo))

    def _get(self) -> None:
        self.stack.append(self.memo[int(self._line()[:12])])

    def _binget(self) -> None:
        self.stack.append(self.memo[self._number(1)])

    def _long_binget(self) -> None:
        self.stack.append(self.memo[self._number(4)])

    def _setitem(self) -> None:
        self._set(self._take(2))

    def _setitems(self) -> None:
        self._set(self._to_mark())

    def _append(self) -> None:
        self._extend(self._take(1))

    def _appends(self) -> None:
        self._extend(self._to_mark())

    def _global(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        self.stack.append(self._known(f"{module}.{name}"))

    def _inst(self) -> None:
        self._global()  # names what is asked for
        raise Malformed

    def _stack_global(self) -> None:
        self.stack.append(self._known(".".join(self._take(2))))

    def _binpersid(self) -> None:
        self.stack.append(self._storage(*self._few(self._take(1)[0])))

    def _reduce(self) -> None:
        called, args = self._take(2)
        if not isinstance(called, Global) or called.name not in self.table:
            raise Malformed
        self.stack.append(self.table[called.name](*self._few(args)))

    def _build(self) -> None:
        """Attributes of an OrderedDict, as in a state dict's _metadata."""
        self._take(1)
        if not isinstance(self.stack[-1], dict):
            raise Malformed

    # What they have in common.

    def _take(self, n: int) -> list[Any]:
        if len(self.stack) < n:
            raise Malformed
        taken = self.stack[-n:]
        del self.stack[-n:]
        return taken

    def _to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _keep(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def _few(self, args: Any) -> tuple[Any, ...]:
        if type(args) is not tuple or len(args) > _MOST_ARGUMENTS:
            raise Malformed
        return args

    def _set(self, items: list[Any]) -> None:
        held, keys = self.stack[-1], items[::2]
        if type(held) is not dict:
            raise Malformed
        # Of others, such as tuples of tuples, the hash may take for ever, or be that of all other keys.
        right = all(type(key) is str or (type(key) is int and abs(key) < _ONE_HASH) for key in keys)
        need(
            right, f"{self.where} has keys that are neither texts nor small numbers: save plain state_dict()"
        )
        held.update(zip(keys, items[1::2], strict=True))

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

    def _storage(self, kind: str, dtype: Global, key: str, location: str, count: int, *view: None) -> Storage:
        plain = kind == "storage" and type(key) is str and type(count) is int and count >= 0
        storage = Storage(STORAGES[dtype.name], key, count)
        if not plain or any(v is not None for v in view) or self.storages.get(key, storage) != storage:
            raise Malformed
        self.storages[key] = storage
        return storage

    def _rebuilt(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: Any
    ) -> Entry:
        if len(shape) != len(stride) or len(shape) > RANK_LIMIT:
            raise Malformed
        numbers = (offset, *shape, *stride)
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
