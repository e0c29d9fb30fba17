"""Texts of the user's own: rows of a file, lines of a text file, or a folder of text files."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from headwater.errors import UserError, shown
from headwater.limits import raised
from headwater.notes import note

from .listing import files_below
from .pictures import Limits, UnreadableError
from .textrows import FIELDED, as_lines, decoded, name_of
from .wording import says_nothing

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a pair that JSON writes as \\ud800, and no text in UTF-8 can hold."""
_LINE = 1 << 20
"""Most bytes of one text."""
_OF_LINES = (".jsonl", ".ndjson", ".txt")
"""Suffixes of files that are read a line at a time."""


@dataclass(frozen=True)
class TextFile:
    """Texts of one file, read when asked for: only where each begins is kept in memory.

    Attributes:
        path: a file that `open_texts` takes.
        names: what to call each text: by its row (`headwater.data.textrows.name_of`), else by the number of
            its line. A row with a list of texts is as many texts of one name.
        field: the field of a row that holds the text; empty for plain lines.
        starts: where each line begins, in bytes.
        lines: the number of each line, from 1; of a table or list, of each row.
        parts: which text of its row each is, or -1 for the row's only one.
        numbered: whether no row has a name.
        content: the lines of a file that was not of such lines, kept in memory.
    """

    path: Path
    names: list[str]
    field: str
    starts: list[int]
    lines: list[int]
    parts: list[int]
    numbered: bool
    content: bytes | None = None
    results: bool = False
    """Whether a method wrote these: a row may then hold a list of candidates, or an empty text."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> str | list[str]:
        """Text `row`; of results, a list if the row holds one.

        Raises UnreadableError, naming the line, if it is no JSON, lacks the field or holds no text.
        """
        with self.path.open("rb") if self.content is None else io.BytesIO(self.content) as file:
            file.seek(self.starts[row])
            raw = file.readline(_LINE + 1)
        lines = self.content is None or self.path.suffix.lower() in _OF_LINES
        where = f"{self.path}, {'line' if lines else 'row'} {self.lines[row]}"
        if not self.field:
            return _text(raw, where)
        found = _row(raw, where)
        if self.field not in found:
            raise UnreadableError(f"{where} has no field {self.field!r}: add it, its row has {_words(found)}")
        value = found[self.field]
        if self.parts[row] >= 0:
            value = value[self.parts[row]]
        listed = isinstance(value, list) and value and all(isinstance(v, str) for v in value)
        good = isinstance(value, str) and (self.results or not says_nothing(value))
        if not ((listed and self.results) or good):
            raise UnreadableError(f"{where}: {self.field!r} is {shown(value)}: write a text")
        if any(_SURROGATE.search(str(text)) for text in (value if isinstance(value, list) else [value])):
            raise UnreadableError(
                f"{where}: {self.field!r} holds half of a character (U+D800 to U+DFFF): mend it"
            )
        return value


@dataclass(frozen=True)
class TextFolder:
    """One text a file, or each line one: the captions that many tools put beside each picture.

    Attributes:
        paths: the file of each text.
        names: its path without the suffix.
        parts: which line of its file each is, blank ones not counted; -1 for the whole file.
    """

    paths: list[Path]
    names: list[str]
    parts: list[int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> str:
        lines = _lines(self.paths[row])
        if not lines:
            raise UnreadableError(f"{self.paths[row]} is empty: write a text into it")
        if self.parts[row] >= 0:
            return lines[self.parts[row]]
        if len(lines) > 1:
            note("has several lines: they are read as one text", self.paths[row].name)
        return _content(self.paths[row])


def open_texts(
    where: Path | str,
    fields: Sequence[str] = ("text",),
    limits: Limits | None = None,
    *,
    results: bool = False,
    by_line: bool = False,
) -> TextFile | TextFolder:
    """Open a .jsonl, .json, .csv or .tsv file of rows, a .txt file of lines, or a folder of .txt files.

    Args:
        where: the path; FILE.jsonl:FIELD names the field. Blank lines are passed over.
        fields: names of the field that holds the text, the first that the first row has.
        limits: caps on the file's size.
        results: whether a method wrote these: a row may then hold a list of candidates, or an empty text.
        by_line: whether each line of a file in a folder is a text, as where pictures have several captions;
            else a file is one.

    Raises:
        UnreadableError: if nothing is there, the file is too large or empty, is of another format, or its
            first row has none of the fields.
    """
    path, fields = _named_field(Path(where), tuple(fields))
    if path.is_dir():
        return _folder(path, by_line)
    if not path.is_file():
        raise UnreadableError(f"{path} does not exist: check the path")
    suffix, limits = path.suffix.lower(), limits or Limits()
    most = limits.array_bytes if suffix in _OF_LINES else limits.file_bytes
    if path.stat().st_size > most:
        raise UnreadableError(f"{path} has more than {most} bytes: split it")
    if suffix not in (*FIELDED, ".txt"):
        raise UnreadableError(f"{path} is no source of texts: give a .jsonl, .json, .csv, .tsv or .txt file")
    content = as_lines(path, fields, limits)
    names, starts, lines, parts = list[str](), list[int](), list[int](), list[int]()
    field, start, numbered = "" if suffix == ".txt" else None, 0, True
    with path.open("rb", 1 << 20) if content is None else io.BytesIO(content) as file:
        for number, (raw, size) in enumerate(_beginnings(file), 1):
            if size > _LINE or not _blank(raw):
                found = _peeked(raw) if field != "" else {}
                field = _field(found, fields, path) if field is None and found else field
                name = _name(found, number, path)
                numbered &= name is None
                value = found.get(field or "")
                many = range(len(value)) if isinstance(value, list) and value and not results else [-1]
                if len(names) + len(many) > limits.items:
                    raise UnreadableError(
                        f"{path} holds more than {limits.items} texts: split it, or {raised('items')}"
                    )
                for part in many:
                    names.append(name or f"{number:06d}")
                    starts.append(start)
                    lines.append(number)
                    parts.append(part)
            start += size
    if not starts:
        raise UnreadableError(f"{path} is empty: write one text a line into it")
    # Without a single good row nothing is known of the field: that is found out when one is read.
    field = fields[0] if field is None else field
    return TextFile(path, names, field, starts, lines, parts, numbered, content, results)


def _beginnings(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Of each line what a text may have at most and a byte more, which is too much, and how long it is."""
    while raw := file.readline(_LINE + 1):
        size, end = len(raw), raw
        while len(end) > _LINE and not end.endswith(b"\n"):
            end = file.readline(_LINE + 1)
            size += len(end)
        yield raw, size


def _named_field(path: Path, fields: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """`rows.jsonl:reference` is a file and a field."""
    stem, colon, field = str(path).rpartition(":")
    if colon and not path.exists() and Path(stem).is_file():
        return Path(stem), (field,)
    return path, fields


def _field(first: dict[str, Any], fields: tuple[str, ...], path: Path) -> str:
    """The field that holds the text."""
    for field in fields:
        if field in first:
            return field
    hint = f"call it that, or give {path.name}:FIELD"
    raise UnreadableError(f"{path} has no field {fields[0]!r} but {_words(first)}: {hint}")


def _folder(root: Path, by_line: bool) -> TextFolder:
    found = files_below(root, (".txt",))
    if not found:
        raise UnreadableError(f"{root} holds no .txt file: check the path")
    paths, names, parts = list[Path](), list[str](), list[int]()
    for path in found:
        count = len(_lines(path)) if by_line else 1
        if count > 1:
            note("has several lines: each is taken for a text of its own", path.name)
        for part in range(count) if count > 1 else [-1]:
            paths.append(path)
            names.append(path.relative_to(root).with_suffix("").as_posix())
            parts.append(part)
    return TextFolder(paths, names, parts)


def _name(found: dict[str, Any], number: int, path: Path) -> str | None:
    name = name_of(found)
    if name is None:
        return None
    if len(name) > 400:
        raise UserError(f"{path}, line {number}, has a name of {len(name)} characters: choose a shorter one")
    plain = not name.startswith("/") and name and ".." not in name.split("/")
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
    text = _text(raw, where)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or a number of too many digits
        if text.rstrip()[-1:] == ",":
            raise UnreadableError(f"{where} ends in a comma: remove it, or write a .json list") from None
        raise UnreadableError(f"{where} is not valid JSON: write one object a line") from None
    if not isinstance(found, dict):
        raise UnreadableError(f"{where} holds no JSON object: write {{...}} with named fields")
    return found


def _text(raw: bytes, where: str) -> str:
    if len(raw) > _LINE:
        raise UnreadableError(f"{where} is longer than {_LINE} bytes: shorten it")
    return decoded(raw, where, whole=False).strip("\r\n")


def _blank(raw: bytes) -> bool:
    """Whether a line holds nothing that can be seen."""
    raw = raw.strip()
    return not raw or (len(raw) < 32 and says_nothing(raw.decode("utf-8", "replace")))


def _content(path: Path) -> str:
    if path.stat().st_size > _LINE:
        raise UnreadableError(f"{path} has more than {_LINE} bytes: put one text a line into one file")
    return decoded(path.read_bytes(), str(path)).replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def _lines(path: Path) -> list[str]:
    """The lines of a small file that say something."""
    return [line for line in _content(path).split("\n") if not says_nothing(line)]


def _words(found: dict[str, Any]) -> str:
    return ", ".join(map(repr, list(found)[:6])) or "no field"
