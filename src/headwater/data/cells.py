"""The cells of text tables: encodings, separators, and lines that are no rows."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from headwater.limits import raised

from .numbers import is_empty, mark_of
from .pictures import Limits, UnreadableError
from .stamps import is_time

_FOREIGN = (
    (b"PK\x03\x04", "an Excel workbook or another packed file: export the table as a CSV file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: export the table as a CSV file"),
    (b"PAR1", "a Parquet file: save the table as a CSV file"),
    (b"ARROW1", "a Feather file: save the table as a CSV file"),
    (b"\x89HDF", "an HDF5 file: save the table as a CSV file"),
    (b"SQLite", "a database: save the table as a CSV file"),
    (b"\x1f\x8b", "packed by gzip: unpack it"),
    (b"BZh", "packed by bzip2: unpack it"),
    (b"\xfd7zXZ", "packed by xz: unpack it"),
    (b"(\xb5/\xfd", "packed by zstd: unpack it"),
    (b"{", "JSON, not a table: save it as a CSV file"),
    (b"[{", "JSON, not a table: save it as a CSV file"),
    (b"<!", "HTML or XML, not a table: save it as a CSV file"),
    (b"<?", "HTML or XML, not a table: save it as a CSV file"),
    (b"<html", "HTML, not a table: save it as a CSV file"),
)
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SAMPLE = 30
"""Lines that decide what parts the cells."""


@dataclass(frozen=True)
class Cells:
    """head: names of the columns. lines: number of the line in the file at which each row ends. columns: the
    cells of each column, without blanks at their ends. separator: what parts cells in the file."""

    head: list[str]
    lines: list[int]
    columns: list[tuple[str, ...]]
    separator: str


def need_(condition: bool, sentence: str) -> None:
    """Raise UnreadableError(sentence) unless the condition holds."""
    if not condition:
        raise UnreadableError(sentence)


def read_cells(path: Path, limits: Limits, say: Callable[[str], None]) -> Cells:
    """Read a table with a header; blank lines, comments above the header and a line of units are left out.

    say: told in a sentence what was assumed.
    Raises UnreadableError if the file is missing, too large, no text, empty, without a header or rows, or if
    its rows are of different lengths.
    """
    text = _text(path, limits, say)
    top, begun, separator, remark = _top(text)
    separator = separator or _separator(text[top:])
    try:
        reader = csv.reader(io.StringIO(text[top:], newline=""), delimiter=separator, strict=True)
        rows = [(begun + reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UnreadableError(f"{path} is no CSV file ({error}): save it again") from None
    rows = [(line, row) for line, row in rows if any(row)]
    widest = max((len(row) for _, row in rows), default=0)
    need_(
        widest <= limits.columns,
        f"{path} has {widest} columns, more than {limits.columns}: split it, or {raised('columns')}",
    )
    named = [cell.strip() for cell in next(csv.reader([remark], delimiter=separator))] if remark else []
    if rows and len(named) == len(rows[0][1]) and all(map(_is_data, rows[0][1])):
        rows.insert(0, (begun, named))  # numpy and others put a # before the header
    need_(bool(rows), f"{path} is empty: give a CSV file with a header")
    line, head = rows.pop(0)
    need_(
        len(head) == 1 or not all(map(_is_data, head)),
        f"{path}, line {line}, holds numbers or dates where the names of the columns should be: add a header "
        f"such as {separator.join(['time', 'a', 'b', 'c'][: len(head)])}{' ...' if len(head) > 4 else ''}",
    )
    need_(bool(rows), f"{path} has a header but no rows: give a CSV file with numbers below it")
    single = len(head) == 1 and all(len(row) == 1 for _, row in rows)
    need_(not single, f"{path} has one cell in each line: put a comma, a semicolon or a tab between cells")
    _even(path, head, rows, separator)
    if len(rows) > 1 and not any(map(_is_data, rows[0][1])) and any(map(_is_data, rows[1][1])):
        shown = ", ".join(cell for cell in rows[0][1] if cell)
        what = f"line {rows[0][0]} holds neither a time nor a number ({shown})"
        say(f"{what}: it is taken for units and left out")
        rows.pop(0)
    columns = list(zip(*(row for _, row in rows), strict=True))
    kept = [i for i, name in enumerate(head) if name or any(columns[i])]  # others are spare separators
    head, columns = [head[i] for i in kept], [columns[i] for i in kept]
    name, count = Counter(head).most_common(1)[0] if head else ("", 0)
    need_(count < 2, f"{path} has two columns {name!r}: rename one")
    return Cells(head, [line for line, _ in rows], columns, separator)


def _is_data(cell: str) -> bool:
    return not is_empty(cell) and (mark_of(cell) is not None or is_time(cell))


def _text(path: Path, limits: Limits, say: Callable[[str], None]) -> str:
    need_(path.is_file(), f"{path} does not exist: check the path")
    size = path.stat().st_size
    need_(
        size <= limits.whole_text,
        f"{path} has {size} bytes, more than {limits.whole_text}: split it, or {raised('text_bytes')}",
    )
    data = path.read_bytes()
    start = data[:4096].lstrip(b"\xef\xbb\xbf \r\n\t")
    for begin, what in _FOREIGN:
        need_(not start.startswith(begin), f"{path} is {what}")
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    if encoding is None and b"\0" in data:
        even, odd = data[::2].count(0), data[1::2].count(0)
        encoding = "utf-16-le" if odd > even else "utf-16-be"
        utf16 = abs(odd - even) > len(data) / 4
        need_(utf16, f"{path} holds zero bytes, so it is no text: save it as a CSV file")
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = _western(path, data, encoding, say)
    need_("\0" not in text, f"{path} holds zero bytes, so it is no text: save it as a CSV file")
    return text


def _western(path: Path, data: bytes, encoding: str | None, say: Callable[[str], None]) -> str:
    """Text in the usual encoding before UTF-8, which is said."""
    need_(encoding is None, f"{path} is damaged {encoding} text: save it again as UTF-8")
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise UnreadableError(f"{path} is not UTF-8 text: save it as a CSV file in UTF-8") from None
    say("is not UTF-8 text: it is read as Windows-1252 (Latin-1), and results are written in UTF-8")
    return text


def _top(text: str) -> tuple[int, int, str | None, str]:
    """Where the header begins: in characters and lines; the separator named above it, and the last remark."""
    at, number, separator, remark = 0, 0, None, ""
    for line in io.StringIO(text, newline=""):
        bare = line.strip()
        named = re.fullmatch(r'"?sep=(.)"?', line.strip("\r\n"), re.IGNORECASE)
        if named is not None:
            separator = named[1]
        elif bare.startswith("#"):
            remark = bare.lstrip("# ")
        elif bare:
            break
        at, number = at + len(line), number + 1
    return at, number, separator, remark


def _separator(text: str) -> str:
    """What parts the same number of cells in every line; else what the header holds most of.

    Commas come last: with another separator they are decimal signs.
    """
    sample = list(islice(io.StringIO(text, newline=""), _SAMPLE))
    for mark in "\t;|,":
        try:
            counts = {len(row) for row in csv.reader(sample, delimiter=mark) if row}
        except csv.Error:
            continue
        if len(counts) == 1 and counts != {1}:
            return mark
    return max(",;\t|", key=(sample or [""])[0].count)


def _even(path: Path, head: list[str], rows: list[tuple[int, list[str]]], separator: str) -> None:
    """Bring header and rows to one length, if only empty cells at their ends differ."""
    longest = max(len(row) for _, row in rows)
    if longest > len(head) and not any(any(row[len(head) :]) for _, row in rows):
        for _, row in rows:
            del row[len(head) :]
    elif longest == len(head) - 1 and not head[-1]:
        head.pop()
    for line, row in rows:
        comma = separator == "," and len(row) > len(head) > 1
        hint = ", and if its numbers have a decimal comma, put ; between the cells" if comma else ""
        hint = ", and remove what stands above the header" if len(head) == 1 else hint
        need_(
            len(row) == len(head),
            f"{path}, line {line}, has {len(row)} cells, the header {len(head)}: correct it{hint}",
        )
