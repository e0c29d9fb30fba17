"""Tables and texts as spreadsheets and scripts write them, each with what a reader must find in it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

Rng = np.random.Generator

_DATES = (
    *("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M", "%Y%m%d%H", "%Y%m%d%H%M", "%d.%m.%Y %H:%M"),
    *("%d %b %Y %H:%M", "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%dT%H:%MZ", "%m/%d/%Y %I:%M %p"),
)
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")


@dataclass(frozen=True)
class OddTable:
    """A table as a file; its hours are counted from the first row."""

    data: bytes
    columns: tuple[str, ...]
    values: np.ndarray
    hours: np.ndarray


def table(rng: Rng) -> OddTable:
    """Hourly or three-hourly rows of two or three columns of numbers, with gaps."""
    rows, step = int(rng.integers(4, 40)), int(rng.choice([1, 3, 24]))
    start = datetime(2024, 1, 13) + timedelta(hours=24 * int(rng.integers(300)))
    stamps = [start + timedelta(hours=step * i) for i in range(rows)]
    names = ("T", "CO", "température")[: int(rng.integers(2, 4))]
    values = np.round(rng.normal(0, 2000 if rng.integers(2) else 5, (rows, len(names))), 2)
    hole = rng.random(values.shape) < 0.1
    hole[0], hole[-1] = False, False
    values[hole] = np.nan
    separator, comma = ((",", False), (";", False), (";", True), ("\t", True), ("\t", False))[
        int(rng.integers(5))
    ]
    thousands = ("", " ", "\u00a0", ".")[int(rng.integers(4))] if comma else ""
    form = _DATES[int(rng.integers(len(_DATES)))]
    head = ("", "time", "Date", "Datum", "timestamp (UTC)")[int(rng.integers(5))]
    empty = ("", "NA", "NaN", "null", "#N/A")[int(rng.integers(5))]
    written = [
        [stamp.strftime(form), *(empty if np.isnan(v) else _number(v, comma, thousands) for v in row)]
        for stamp, row in zip(stamps, values.tolist(), strict=True)
    ]
    if rng.integers(5) == 0:
        written = written[::-1]
    words = rng.integers(4) == 0
    text = io.StringIO()
    out = csv.writer(text, delimiter=separator, lineterminator=("\n", "\r\n")[int(rng.integers(2))])
    out.writerow([head, *names, *(["wind"] if words else [])])
    out.writerows([*row, *(["SE"] if words else [])] for row in written)
    encoding = _ENCODINGS[int(rng.integers(len(_ENCODINGS)))]
    return OddTable(text.getvalue().encode(encoding), names, values, step * np.arange(rows, dtype=np.float64))


def _number(value: float, comma: bool, thousands: str) -> str:
    text = f"{value:,.2f}" if thousands else f"{value:.2f}"
    return text.translate(str.maketrans({",": thousands, ".": ","})) if comma else text


@dataclass(frozen=True)
class OddTexts:
    """Texts as a file."""

    name: str
    data: bytes
    texts: list[str]


_TEXTS = ("a red heart", "Ça va ?", "“quoted”", "雪", "e\u0301te\u0301", 'a "b" c', "two  blanks", "x" * 300)


def texts(rng: Rng) -> OddTexts:
    """Rows of a .jsonl, or lines of a .txt."""
    found = [str(rng.choice(_TEXTS)) for _ in range(int(rng.integers(1, 8)))]
    end = ("\n", "\r\n")[int(rng.integers(2))]
    way = int(rng.integers(4))
    if way == 0:
        lines, name = found, "t.txt"
    elif way == 1:
        lines, name = [json.dumps({"text": t}) for t in found], "t.jsonl"
    elif way == 2:
        lines = [json.dumps({"file": f"{i}.png", "text": t}, ensure_ascii=False) for i, t in enumerate(found)]
        name = "t.JSONL"
    else:
        lines, name = ["", *(line for t in found for line in (t, ""))], "t.TXT"
    encoding = ("utf-8", "utf-8-sig", "utf-16")[int(rng.integers(3))]
    return OddTexts(name, (end.join(lines) + end).encode(encoding), found)
