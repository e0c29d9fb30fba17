"""Texts of the user's own: rows of a JSONL file, lines of a text file, or a folder of text files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.errors import UserError

from .pictures import Limits, UnreadableError

NAMES = ("name", "file", "id")
"""Fields of a row that may name it, in this order."""
_LINE = 1 << 20
"""Most bytes of one text."""


@dataclass(frozen=True)
class TextFile:
    """Texts of one file, read when asked for: only where each begins is kept in memory.

    Attributes:
        path: a .jsonl or .txt file.
        names: what to call each text: `name`, `file` or `id` of its row, else the number of its line.
        field: the field of a row that holds the text; empty for plain lines.
        starts: where each line begins, in bytes.
        lines: the number of each line, from 1.
    """

    path: Path
    names: list[str]
    field: str
    starts: list[int]
    lines: list[int]
    results: bool = False
    """Whether a method wrote these: a row may then hold a list of candidates, or an empty text."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> str | list[str]:
        """Text `row`; of results, a list if the row holds one.

        Raises UnreadableError, naming the line, if it is no JSON, lacks the field or holds no text.
        """
        with self.path.open("rb") as file:
            file.seek(self.starts[row])
            raw = file.readline(_LINE + 1)
        where = f"{self.path}, line {self.lines[row]}"
        if not self.field:
            return _text(raw, where)
        found = _row(raw, where)
        if self.field not in found:
            raise UnreadableError(f"{where} has no field {self.field!r}: add it, its row has {_words(found)}")
        value = found[self.field]
        listed = isinstance(value, list) and value and all(isinstance(v, str) for v in value)
        if not ((listed and self.results) or (isinstance(value, str) and (self.results or value.strip()))):
            raise UnreadableError(f"{where}: {self.field!r} is {value!r}: write a text")
        return value


@dataclass(frozen=True)
class TextFolder:
    """One text a file: the captions that many tools put beside each picture."""

    paths: list[Path]
    names: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> str:
        path = self.paths[row]
        if path.stat().st_size > _LINE:
            raise UnreadableError(f"{path} has more than {_LINE} bytes: put one text a line into one file")
        text = _text(path.read_bytes(), str(path))
        if not text.strip():
            raise UnreadableError(f"{path} is empty: write a text into it")
        return text


def open_texts(
    where: Path | str,
    fields: Sequence[str] = ("text",),
    limits: Limits | None = None,
    *,
    results: bool = False,
) -> TextFile | TextFolder:
    """Open a .jsonl file, a .txt file with one text a line, or a folder of .txt files.

    Args:
        where: the path; FILE.jsonl:FIELD names the field. Blank lines are passed over.
        fields: names of the field that holds the text, the first that the first row has.
        limits: caps on the file's size.
        results: whether a method wrote these: a row may then hold a list of candidates, or an empty text.

    Raises:
        UnreadableError: if nothing is there, the file is too large or empty, is of another format, or its
            first row has none of the fields.
    """
    path, fields = _named_field(Path(where), tuple(fields))
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise UnreadableError(f"{path} does not exist: check the path")
    most = (limits or Limits()).array_bytes
    if path.stat().st_size > most:
        raise UnreadableError(f"{path} has more than {most} bytes: split it")
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".ndjson", ".txt"):
        raise UnreadableError(f"{path} is no source of texts: give a .jsonl or .txt file")
    rows = suffix != ".txt"
    names, starts, lines, first = [], [], [], {}
    start = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.strip(b" \t\r\n\xef\xbb\xbf"):
                found = _peeked(raw) if rows else {}
                first = first or found
                names.append(_name(found, number, path))
                starts.append(start)
                lines.append(number)
            start += len(raw)
    if not starts:
        raise UnreadableError(f"{path} is empty: write one text a line into it")
    return TextFile(path, names, _field(first, fields, path) if rows else "", starts, lines, results)


def _named_field(path: Path, fields: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """`rows.jsonl:reference` is a file and a field."""
    stem, colon, field = str(path).rpartition(":")
    if colon and not path.exists() and Path(stem).is_file():
        return Path(stem), (field,)
    return path, fields


def _field(first: dict[str, Any], fields: tuple[str, ...], path: Path) -> str:
    """The field that holds the text. A file without a single good row is found out when it is read."""
    for field in fields:
        if field in first or not first:
            return field
    hint = f"call it that, or give {path.name}:FIELD"
    raise UnreadableError(f"{path} has no field {fields[0]!r} but {_words(first)}: {hint}")


def _folder(root: Path) -> TextFolder:
    paths = sorted(p for p in root.rglob("*.txt") if not p.name.startswith("."))
    if not paths:
        raise UnreadableError(f"{root} holds no .txt file: check the path")
    return TextFolder(paths, [p.relative_to(root).with_suffix("").as_posix() for p in paths])


def _name(found: dict[str, Any], number: int, path: Path) -> str:
    given = next((found[key] for key in NAMES if isinstance(found.get(key), (str, int))), None)
    if given is None or isinstance(given, bool) or not str(given).strip():
        return f"{number:06d}"
    name = str(given)
    plain = not name.startswith(("/", "\\")) and ".." not in name.replace("\\", "/").split("/")
    if not plain or not name.isprintable() or len(name.encode()) > 200:
        raise UserError(
            f"{path}, line {number}, is named {name[:80]!r}: results get that name, so choose another"
        )
    return name


def _peeked(raw: bytes) -> dict[str, Any]:
    """The row, or nothing where it is no good: that is said when the row is read."""
    try:
        return _row(raw, "")
    except UnreadableError:
        return {}


def _row(raw: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(_text(raw, where))
    except (json.JSONDecodeError, RecursionError):
        raise UnreadableError(f"{where} is not valid JSON: write one object a line") from None
    if not isinstance(found, dict):
        raise UnreadableError(f"{where} holds no JSON object: write {{...}} with named fields")
    return found


def _text(raw: bytes, where: str) -> str:
    if len(raw) > _LINE:
        raise UnreadableError(f"{where} is longer than {_LINE} bytes: shorten it")
    try:
        return raw.decode("utf-8").lstrip("\ufeff").strip("\r\n")
    except UnicodeDecodeError:
        raise UnreadableError(f"{where} is not UTF-8 text: save it as UTF-8") from None


def _words(found: dict[str, Any]) -> str:
    return ", ".join(map(repr, list(found)[:6])) or "no field"
