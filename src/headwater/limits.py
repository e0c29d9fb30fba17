"""What one file may cost whoever reads it: checked before anything of that size is allocated or gone through.

Each limit can be changed for a command by `--limit pixels=200000000`, for all of them by a variable of the
environment, as HEADWATER_LIMIT_PIXELS=200000000, and from Python by handing `Limits(pixels=200_000_000)` to a
reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from headwater.errors import UserError

_PREFIX = "HEADWATER_LIMIT_"
UNPACKED = 64 * 1024**2
"""Bytes that any file may unpack to, however small it is."""
VOLUME = 128 * 1024**2
"""The same of a volume: label maps pack to a thousandth, and the header says what follows."""
_chosen: dict[str, int] = {}
"""By --limit, as long as its command runs."""


def _limit(name: str, value: int) -> Any:
    return field(default_factory=lambda: _said(name, value))


def _said(name: str, value: int) -> int:
    """A limit by --limit, by the environment, or as it is by default."""
    if name in _chosen:
        return _chosen[name]
    variable = f"{_PREFIX}{name.upper()}"
    text = os.environ.get(variable, "")
    return _number(variable, text) if text else value


def _number(what: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise UserError(f"{what} is {text[:40]!r}: give a whole number above 0")
    return int(text)


@contextmanager
def as_by_default() -> Iterator[None]:
    """What is chosen within holds within."""
    before = dict(_chosen)
    _chosen.clear()
    try:
        yield
    finally:
        _chosen.clear()
        _chosen.update(before)


def choose(text: str) -> None:
    """Set a limit, NAME=VALUE. Raises UserError where there is none of that name."""
    name, _, value = text.partition("=")
    name = name.strip().lower().replace("-", "_")
    if name not in NAMES:
        raise UserError(f"--limit {text[:60]}: give NAME=VALUE; the names are {', '.join(NAMES)}")
    _chosen[name] = _number(f"--limit {name}", value.strip())


@dataclass(frozen=True)
class Limits:
    """What an input file may cost, checked before anything of that size is allocated."""

    file_bytes: int = _limit("file_bytes", 512 * 1024**2)
    """Largest file on disk that is read as a whole, in bytes."""
    pixels: int = _limit("pixels", 64_000_000)
    """Largest picture, width x height. Pillow itself refuses more than 89 million."""
    array_bytes: int = _limit("array_bytes", 4 * 1024**3)
    """Largest decoded array, in bytes."""
    packed: int = _limit("packed", 100)
    """How many times its own size a file may unpack to, where that is more than 64 MiB, or 128 MiB of a
    volume."""
    record_bytes: int = _limit("record_bytes", 64 * 1024**2)
    """Largest YAML file, in bytes; the record of 100,000 files has 30 million."""
    text_bytes: int = _limit("text_bytes", 128 * 1024**2)
    """Largest file of texts that has to be read as a whole: JSON, CSV, and text that is not UTF-8."""
    items: int = _limit("items", 1_000_000)
    """Most slices or texts of one file."""
    columns: int = _limit("columns", 20_000)
    """Most columns of a table."""

    @property
    def whole_text(self) -> int:
        """Largest text file that is read as a whole, in bytes."""
        return min(self.file_bytes, self.text_bytes)

    def unpacks(self, size: int, of: int, free: int = UNPACKED) -> bool:
        """Whether a file of `of` bytes may unpack to `size` bytes, which up to `free` bytes all may."""
        return size <= free or size <= self.packed * of


NAMES = tuple(limit.name for limit in fields(Limits))


def raised(name: str) -> str:
    """What to do where a file is over a limit that may be raised: the end of a sentence."""
    assert name in NAMES
    return f"raise --limit {name} or {_PREFIX}{name.upper()} if you trust the file"
