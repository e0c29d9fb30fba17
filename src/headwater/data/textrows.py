"""Texts as other programs write them, JSON, CSV and UTF-16, as lines of a .jsonl or .txt file in UTF-8."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.errors import shown
from headwater.limits import Limits, raised

from .listing import TABLES
from .pictures import UnreadableError

FIELDED = (".jsonl", ".ndjson", ".json", *TABLES)
"""Suffixes of files whose rows have fields."""
NAMES = ("name", "file", "id")
"""Fields of a row that may name it, in this order."""
PICTURES = ("file_name", "filename", "filepath", "image", "image_name", "image_path", "img", "path")
"""Fields that name a row before `id` does, where they hold the name of a picture."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What files in other encodings of Unicode begin with; the longer ones first."""
_NAME = 400
"""Letters of a line in which a name of a picture may end: to look for it takes the square of that."""
_PICTURE = r"[^,;|\t]*\.(?:png|jpe?g|webp|tiff?|bmp|gif)"
_TABLE = re.compile(rf"\s*[\"']?{_PICTURE}(?:#\d+)?[\"']?\s*[,;|\t]", re.IGNORECASE)
_NUMBERED = re.compile(rf"({_PICTURE})#\d+", re.IGNORECASE)


def as_lines(path: Path, fields: Sequence[str], limits: Limits) -> bytes | None:
    """The file as lines that `open_texts` reads, each a row; None if it is of such lines already.

    fields: names of the field that holds the text.
    Raises UnreadableError, naming the file, for what is no such file and for texts in another encoding.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if suffix in TABLES:
        return _lines(_cells(_all_of(path, limits), path, fields))
    foreign = head.startswith(tuple(mark for mark, _ in _MARKS))
    inside = suffix == ".json" or (suffix != ".txt" and head.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] == b"[")
    if not (foreign or inside or (b"\r" in head and b"\n" not in head) or b"\0" in head):
        if suffix == ".txt":
            _no_table(head, path)
        return None
    text = _all_of(path, limits)
    if inside and (rows := _whole(text, path, fields, limits, lines=suffix != ".json")) is not None:
        return _lines(rows)
    return text.replace("\r\n", "\n").replace("\r", "\n").encode()


def _all_of(path: Path, limits: Limits) -> str:
    """The text of a whole file. UnreadableError if it is too large for that."""
    if path.stat().st_size > limits.whole_text:
        raise UnreadableError(
            f"{path} has {path.stat().st_size} bytes, more than {limits.whole_text}: split it, or "
            f"{raised('text_bytes')}"
        )
    return decoded(path.read_bytes(), str(path))


def decoded(raw: bytes, where: str, whole: bool = True) -> str:
    """Text in UTF-8, or in what the first bytes of a whole file say. UnreadableError if it is neither."""
    marked = next((name for mark, name in _MARKS if whole and raw.startswith(mark)), None)
    try:
        if marked is None and b"\0" in raw:
            raise UnreadableError(f"{where} holds bytes of 0, as UTF-16 without its mark: save it as UTF-8")
        return raw.decode(marked or "utf-8").lstrip("\ufeff")
    except UnicodeDecodeError:
        raise UnreadableError(
            f"{where} is not {(marked or 'utf-8').upper()} text: save it as UTF-8"
        ) from None


def name_of(found: Mapping[str, Any]) -> str | None:
    """What a row calls itself, with / between folders; None if it has no name."""
    for key in ("name", "file", *PICTURES, "id"):
        value = found.get(key)
        given = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
        given = given if key not in PICTURES or len(given) <= _NAME else ""
        if given and (key not in PICTURES or re.fullmatch(rf"{_PICTURE}(?:#\d+)?", given, re.IGNORECASE)):
            return _tidy(given)
    return None


def _tidy(name: str) -> str:
    """`./a//b` is `a/b`; Flickr's `x.jpg#0` is the first text of `x.jpg`."""
    numbered = _NUMBERED.fullmatch(name) if len(name) <= _NAME else None
    name = (numbered[1] if numbered else name).replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8", "surrogatepass")


def _no_table(head: bytes, path: Path) -> None:
    """Names of pictures beside their texts, in a .txt file, would be taken for a part of the texts."""
    lines = [line[:_NAME] for line in head.decode("utf-8", "replace").splitlines() if line.strip()][:4]
    if lines and all(_TABLE.match(line) for line in lines[1:] or lines):
        raise UnreadableError(
            f"{path} has names of pictures beside its texts ({lines[-1][:60]!r}): call it .csv, or .tsv if "
            "tabs are between, with a first line such as name,text"
        )


def _cells(text: str, path: Path, fields: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table, by the names in its first line."""
    text = text.removeprefix("\ufeff")
    if text[:4].lower() == "sep=":
        text = text.partition("\n")[2]
    first = text.partition("\n")[0]

    def split(source: Iterator[str] | list[str], between: str) -> Any:
        return csv.reader(source, delimiter=between, skipinitialspace=True)

    marks = "\t" if path.suffix.lower() == ".tsv" else ",;\t|"
    try:
        heads = {mark: [cell.strip() for cell in next(split([first], mark), [])] for mark in marks}
    except csv.Error as error:
        raise UnreadableError(f"{path}, line 1, is no row of a table ({error})") from None
    mark = max(heads, key=lambda m: (any(f in heads[m] for f in fields), len(heads[m])))
    names, rows = heads[mark], list[dict[str, str]]()
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise UnreadableError(
            f"{path} has two columns called {twice!r}: rename one, or write a row for each text"
        )
    reader = split(io.StringIO(text, newline=""), mark)
    try:
        next(reader, None)
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            if len(cells) != len(names):
                raise UnreadableError(
                    f"{path}, line {reader.line_num}, has {len(cells)} cells, its first line {len(names)}: "
                    f'put texts that hold {mark!r} in double quotes, "like{mark} this"'
                )
            rows.append(dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise UnreadableError(f"{path}, line {reader.line_num}, is no row of a table ({error})") from None
    if not rows:
        raise UnreadableError(f"{path} has no row below its first line: write one row a text")
    return rows


def _whole(
    text: str, path: Path, fields: Sequence[str], limits: Limits, lines: bool
) -> list[dict[str, Any]] | None:
    """The rows of a JSON file; None if it is one object a line.

    lines: whether it may be so, whatever is wrong with it: its own lines are then found out one by one.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        first = next((line for line in text.splitlines() if line.strip()), "")
        if lines or (first.lstrip()[:1] == "{" and _is_object(first)):
            return None
        place = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        raise UnreadableError(f"{path} is not valid JSON{place}: correct it") from None
    if isinstance(found, list) and len(found) > limits.items:
        raise UnreadableError(f"{path} holds more than {limits.items} rows: split it, or {raised('items')}")
    rows = _listed(found, fields) if isinstance(found, list) else _named(found, path, fields)
    if not rows:
        raise UnreadableError(f"{path} holds no row: write a list of objects, each with a text")
    return rows


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _listed(found: list[Any], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as they are; plain texts as rows without a name. What is neither is found out when it is read."""
    return [row if isinstance(row, dict) else {fields[0]: row} for row in found]


def _named(found: Any, path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of one object: COCO's annotations, a name -> text table, or a single row."""
    if not isinstance(found, dict):
        raise UnreadableError(
            f"{path} holds {type(found).__name__}: write a list of objects, each with a text"
        )
    images, annotations = found.get("images"), found.get("annotations")
    if isinstance(images, list) and isinstance(annotations, list):
        return _coco(images, annotations, path, fields)
    if any(isinstance(found.get(field), str) for field in fields):
        return [found]
    if found and all(map(_is_text, found.values())) and not {*NAMES, *PICTURES, *fields} & found.keys():
        return [{"name": name, fields[0]: text} for name, text in found.items()]
    keys = ", ".join(map(repr, list(found)[:6])) or "nothing"
    raise UnreadableError(
        f"{path} is one object with {keys}, not rows: write a list of objects such as "
        f'{{"name": "a.png", "{fields[0]}": "..."}}, or one such object a line'
    )


def _is_text(value: Any) -> bool:
    """A text, or several."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))


def _coco(
    images: list[Any], annotations: list[Any], path: Path, fields: Sequence[str]
) -> list[dict[str, Any]]:
    """One row for each caption, named by the file of its picture."""
    try:
        files = {image["id"]: image["file_name"] for image in images}
        return [{"file": files[a["image_id"]], fields[0]: a["caption"]} for a in annotations]
    except (KeyError, TypeError, IndexError) as error:
        why = f"{shown(error.args[0])} is missing" if isinstance(error, KeyError) else "they are other values"
        raise UnreadableError(
            f"{path} has images and annotations, but not as COCO's captions ({why}): give "
            "the file with image_id and caption, captions_train2017.json"
        ) from None
