"""Texts: rows of a JSONL file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.cli.kinds.family import Family, Items, Request
from headwater.data import Set, shipped
from headwater.data.rows import Pairs
from headwater.data.texts import open_texts
from headwater.errors import UserError


@dataclass(frozen=True)
class _Given:
    """Texts that are in memory."""

    names: list[str]
    texts: list[str]

    def __getitem__(self, row: int) -> str:
        return self.texts[row]


class Texts(Family):
    """One string, or a list of candidates."""

    noun = ("text", "texts")
    looks = "words"

    def open(self, ask: Request) -> Items:
        fields = tuple(dict.fromkeys((ask.name, *ask.fields, "text")))
        name, _, split = ask.where.partition(":")
        if name in (*shipped.names(), "verses"):
            return _shipped(name, split or "train", fields)
        return open_texts(Path(ask.where).expanduser(), fields, several=ask.several)

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)

    def results(self, key: str) -> str:
        return f"{key}.jsonl"

    def write(self, out: Path, key: str, names: Sequence[str], items: Sequence[Any]) -> None:
        rows = [{"name": name, key: item} for name, item in zip(names, items, strict=True)]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        with (out / self.results(key)).open("a", encoding="utf-8", newline="") as file:
            file.write("".join(lines))


def _shipped(name: str, split: str, fields: Sequence[str]) -> Items:
    """A side of shipped pairs, or the captions of shipped pictures, named like these."""
    try:
        found = shipped.load(name, split)
    except ValueError as error:
        raise UserError(str(error)) from None
    sides = {"source": found.source, "target": found.target} if isinstance(found, Pairs) else {}
    if isinstance(found, Set) and found.names is not None:
        sides = {"caption": found.names}
    side = next((field for field in fields if field in sides), None)
    if side is None:
        raise UserError(f"{name} has no text called {fields[0]!r}: it has {' and '.join(sides) or 'none'}")
    return _Given([f"{name}-{split}-{i:05d}" for i in range(len(found))], sides[side])
