"""YAML of the user's own, read after a look at its events alone: how large, how deep, and what it repeats."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from headwater.limits import Limits

FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where PyYAML has it."""
_DEEPEST = 50
_REPEATED = 1_000_000
"""Characters that aliases may stand for, all together."""
_LONGEST = 400
"""Characters of a number."""
_NUMBERED = 1000
"""Keys that are numbers: of these, unlike those of texts, hashes can be chosen to be alike."""
_DIGITS = frozenset("0123456789_:+-.xXobBabcdefABCDEF")
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
)


def read_yaml(path: Path, loader: Any = FAST) -> Any:
    """What a YAML file holds, of plain values alone.

    Raises OSError, or yaml.YAMLError for what is no YAML, and for a file that is too large, too deep, or
    repeats too much of itself.
    """
    limits = Limits()
    if path.exists() and not path.is_file():
        raise yaml.YAMLError("it is no file but a folder, a pipe or a device")
    with path.open("rb") as file:
        raw = file.read(limits.record_bytes + 1)
    if len(raw) > limits.record_bytes:
        raise yaml.YAMLError(f"it has more than {limits.record_bytes} bytes")
    try:
        text = raw.decode("utf-8")
        _Look(limits.items // 2).over(text, loader)
        return yaml.load(text, loader)
    except UnicodeDecodeError:
        raise yaml.YAMLError("it is not UTF-8 text") from None
    except (ValueError, OverflowError, TypeError) as error:  # such as a date that is none
        raise yaml.YAMLError(str(error)) from None


@dataclass
class _Open:
    """A list or mapping whose end is still to come."""

    mapping: bool
    anchor: Hashable
    items: int = 0
    size: int = 1


@dataclass
class _Look:
    """Counts of what has been seen of a file."""

    most: int
    open: list[_Open] = field(default_factory=lambda: [_Open(False, None)])
    sizes: dict[Hashable, int] = field(default_factory=dict)
    """Characters that each anchor stands for."""
    nodes: int = 0
    repeated: int = 0
    numbered: int = 0

    def over(self, text: str, loader: Any) -> None:
        """Raise yaml.YAMLError at the first event that is too much."""
        for event in yaml.parse(text, loader):
            match event:
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.CollectionStartEvent():
                    self._tagged(event)
                    self.open.append(_Open(isinstance(event, yaml.MappingStartEvent), event.anchor))
                    _need(len(self.open) <= _DEEPEST, f"it is nested more than {_DEEPEST} deep")
                case yaml.CollectionEndEvent():
                    done = self.open.pop()
                    self._add(done.size, done.anchor)
                case _:
                    pass

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._tagged(event)
        value, plain = event.value, event.implicit[0] or event.tag is not None
        if plain and len(value) > _LONGEST:
            _need(not _DIGITS.issuperset(value), f"it holds a number of {len(value)} digits")
        key = self.open[-1].mapping and self.open[-1].items % 2 == 0
        if key and plain and value[:1] in _DIGITS:
            self.numbered += 1
            _need(self.numbered <= _NUMBERED, f"more than {_NUMBERED} of its names are numbers")
        self._add(1 + len(value), event.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        _need(event.anchor in self.sizes, f"*{str(event.anchor)[:40]} stands for itself, or for nothing")
        self.repeated += self.sizes[event.anchor]
        _need(self.repeated <= _REPEATED, "its aliases stand for more than a million characters")
        self._add(self.sizes[event.anchor], None)

    def _add(self, size: int, anchor: Hashable) -> None:
        self.nodes += 1
        _need(self.nodes <= self.most, f"it holds more than {self.most} values")
        self.open[-1].items += 1
        self.open[-1].size += size
        if anchor is not None:
            self.sizes[anchor] = size

    def _tagged(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        _need(tag is None or tag in _TAGS, f"it asks for {str(tag)[:80]}, and only plain values are read")


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise yaml.YAMLError(what)
