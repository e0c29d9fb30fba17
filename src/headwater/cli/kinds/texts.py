"""Texts: rows of a table, lines of a file, files of a folder."""

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
        name, _, rest = ask.where.partition(":")
        if name in (*shipped.names(), "verses"):
            split, _, field = rest.partition(":")
            return _shipped(name, split or "train", (field,) if field else fields)
        where = Path(ask.where).expanduser()
        return open_texts(where, fields, results=ask.results, by_line=ask.by_line)

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)

    def results(self, key: str) -> str:
        return f"{key}.jsonl"

    def table(self, key: str) -> tuple[str, str]:
        return self.results(key), ""

    def write(self, out: Path, key: str, name: str, item: Any) -> str:
        return json.dumps({"name": name, key: item}, ensure_ascii=False) + "\n"


def _shipped(name: str, split: str, fields: Sequence[str]) -> Items:
    """A side of shipped pairs, or the captions of shipped pictures, called what these are called."""
    try:
        found = shipped.load(name, split)
    except ValueError as error:
        raise UserError(str(error)) from None
    if isinstance(found, Pairs):
        sides = {"source": found.source, "target": found.target}
        side = next((field for field in fields if field in sides), None)
        if side is None:
            hint = " or ".join(f"{name}:{split}:{side}" for side in sides)
            raise UserError(f"{name} has no text called {fields[0]!r}: give {hint}")
        texts = sides[side]
    elif isinstance(found, Set) and found.names is not None:
        texts = found.names
    else:
        raise UserError(f"{name} has no texts: choose verses, or emoji for its captions")
    return _Given([f"{name}-{split}-{i:05d}" for i in range(len(texts))], texts)
