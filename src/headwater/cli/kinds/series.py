"""Series: one CSV with a time column per item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headwater.cli.kinds.family import Family, Items, Request, relative, stem
from headwater.data import shipped
from headwater.data.listing import TABLES, files_below
from headwater.data.reading import Reading
from headwater.data.series import Table, read_table, write_table
from headwater.errors import UserError
from headwater.notes import note

_OTHERS = (".xlsx", ".xls", ".xlsm", ".ods", ".parquet", ".feather", ".pq", ".tab", ".dat")


@dataclass(frozen=True)
class _Tables:
    """CSV files, and what the user said of them."""

    names: list[str]
    paths: list[Path]
    reading: Reading

    def __getitem__(self, row: int) -> Table:
        said = self.reading
        table = read_table(
            self.paths[row],
            missing=said.missing,
            decimal=said.decimal,
            time_column=said.time_column,
            date_order=said.date_order,
        )
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
        paths = [path] if path.is_file() else _tables_in(path, ask)
        return _Tables(relative(paths, path), paths, ask.reading)

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)

    def files(self, key: str, name: str) -> list[str]:
        return [f"{key}/{stem(name)}.csv"]

    def write(self, out: Path, key: str, name: str, item: Table) -> str:
        (file,) = self.files(key, name)
        write_table(out / file, item)
        return ""


def _tables_in(folder: Path, ask: Request) -> list[Path]:
    """The tables of a folder; other files that look like tables are named."""
    found = files_below(folder)
    tables = [p for p in found if p.suffix.lower() in TABLES]
    others = [
        p for p in found if p.suffix.lower() in _OTHERS or (p.suffix.lower() == ".gz" and ".csv" in p.name)
    ]
    if not tables:
        hint = f"export {others[0].name} as a CSV file" if others else "check the path"
        raise UserError(f"{ask.flag}: {ask.where} holds no .csv or .tsv file: {hint}")
    for other in others:
        note("is no .csv or .tsv file: it is left out", other.name)
    return tables


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
