"""Scores: one number per item, all in one table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwater.cli.kinds.family import Family, Items, Request
from headwater.errors import UserError, need
from headwater.limits import Limits, raised


@dataclass(frozen=True)
class _Column:
    """The numbers of a file, by name."""

    names: list[str]
    values: list[float]

    def __getitem__(self, row: int) -> Tensor:
        return torch.tensor(self.values[row])


class Scores(Family):
    """float32 ()."""

    looks = ""

    def open(self, ask: Request) -> Items:
        path = ask.path
        need(path.is_file(), f"{ask.flag}: {ask.where} is a folder: give a CSV file")
        return _Column(*read_scores(path))

    def results(self, key: str) -> str:
        return f"{key}.csv"

    def write(self, out: Path, key: str, name: str, item: Any) -> str:
        return _line(name, repr(float(item)))

    def table(self, key: str) -> tuple[str, str]:
        return self.results(key), _line("name", key)


def _line(*cells: str) -> str:
    """One row of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def read_scores(path: Path) -> tuple[list[str], list[float]]:
    """Names and numbers of a CSV file with one item a line. UserError names a line that holds no number."""
    names, values = [], []
    size, most = path.stat().st_size, Limits().text_bytes
    need(size <= most, f"{path} has {size} bytes, more than {most}: split it, or {raised('text_bytes')}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                try:
                    values.append(float(row[-1]))
                    names.append(row[0])
                except (ValueError, IndexError):
                    need(number == 1, f"{path}, line {number}, has no number at its end: correct it")
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is no CSV file of names and numbers in UTF-8 ({error}): save it again"
        ) from None
    need(bool(names), f"{path} holds no scores: give a CSV file of names and numbers")
    return names, values
