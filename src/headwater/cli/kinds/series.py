"""Series: one CSV with a time column per item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headwater.cli.kinds.family import Family, Items, Request, relative, stem
from headwater.data import shipped
from headwater.data.listing import files_below
from headwater.data.series import Table, read_table, write_table
from headwater.errors import UserError, need
from headwater.notes import note


@dataclass(frozen=True)
class _Tables:
    """CSV files; columns of words, which no method reads, are named."""

    names: list[str]
    paths: list[Path]

    def __getitem__(self, row: int) -> Table:
        table = read_table(self.paths[row])
        for column in table.left_out:
            note(f"column {column} holds words, not numbers: it is left out", self.paths[row].name)
        return replace(table, name=stem(self.names[row]))


class SeriesFiles(Family):
    """A `Table`."""

    noun = ("series", "series")
    looks = "curve"

    def open(self, ask: Request) -> Items:
        name, _, split = ask.where.partition(":")
        if name == "air":
            return _Shipped(split or "train")
        path = ask.path
        paths = [path] if path.is_file() else files_below(path, (".csv",))
        need(bool(paths), f"{ask.flag}: {ask.where} holds no .csv file: check the path")
        return _Tables(relative(paths, path), paths)

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)

    def write(self, out: Path, key: str, name: str, item: Table) -> str:
        write_table(out / key / f"{stem(name)}.csv", item)
        return ""


class _Shipped:
    """One split of the shipped table."""

    def __init__(self, split: str) -> None:
        try:
            self.table = shipped.load("air", split)
        except ValueError as error:
            raise UserError(str(error)) from None
        self.names = [self.table.name]

    def __getitem__(self, row: int) -> Table:
        return self.table
