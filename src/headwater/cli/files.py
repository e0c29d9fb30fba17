"""Reading the inputs of a method and writing its outputs, by the `Kind` that its page declares."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from headwater.atomic import write_file
from headwater.data import UnreadableError, open_dataset, save_labels, save_mask, save_picture, shipped
from headwater.data.arrays import read_npy
from headwater.data.masks import UNLABELLED, read_known, read_labels, read_mask
from headwater.data.pictures import SUFFIXES, list_pictures, read_picture
from headwater.errors import UserError, need
from headwater.methods.base import Kind

OnError = Literal["stop", "skip"]


class Source:
    """The files of one input, read a few at a time."""

    def __init__(self, name: str, kind: Kind, where: str, shape: tuple[int, int, int]) -> None:
        self.name, self.kind, self.shape, self.size = name, kind, shape, shape[1:]
        self.paths: list[Path] = []
        self.skipped: dict[str, str] = {}
        path, flag = Path(where).expanduser(), f"--{name.replace('_', '-')}"
        if kind.name == "images" and not _loose(where):
            self.data = open_dataset(where, shape, labels="none")
            self.names = [self.data.name(i) for i in range(len(self.data))]
            return
        need(path.exists(), f"{flag}: {where} does not exist: check the path")
        if kind.name == "scores":
            need(path.is_file(), f"{flag}: {where} is a folder: give a CSV file")
            self.names, self.scores = read_scores(path)
            return
        if kind.name == "map":
            self.paths = [path] if path.is_file() else sorted(path.rglob("*.npy"))
            need(bool(self.paths), f"{flag}: {where} holds no .npy file: check the path")
        else:
            self.paths = [path] if path.is_file() else list_pictures(path)
        self.names = [p.relative_to(path).as_posix() if path.is_dir() else p.name for p in self.paths]

    def __len__(self) -> int:
        return len(self.names)

    def check_names(self) -> None:
        """UserError if two items differ in their suffix only: their results would be one file."""
        seen: dict[str, str] = {}
        for name in self.names:
            other = seen.setdefault(_stem(name), name)
            need(other == name, f"--{self.name}: {other} and {name} would have one result: rename one")

    def read(self, rows: Sequence[int]) -> Tensor:
        """The tensor of these items as the method wants it. UnreadableError names a file that is no good."""
        match self.kind.name:
            case "scores":
                return torch.tensor([self.scores[i] for i in rows])
            case "mask" | "map":
                found = {i: self._one(i) for i in dict.fromkeys(rows)}  # one mask may serve all
                return torch.stack([found[i] for i in rows])
            case _:
                return torch.stack([self._one(i) for i in rows])

    def read_good(self, rows: Sequence[int], on_error: OnError) -> tuple[list[int], Tensor | None]:
        """The rows that can be read, and their tensor; with `skip`, bad ones are noted in `skipped`."""
        good, found = [], []
        for row in rows:
            try:
                found.append(self.read([row]))
            except UnreadableError as error:
                if on_error == "stop":
                    raise UserError(f"{error}, or add --on-error skip") from None
                self.skipped[self.names[row]] = str(error)
                continue
            good.append(row)
        return good, torch.cat(found) if found else None

    def _one(self, row: int) -> Tensor:
        match self.kind.name:
            case "images":
                return read_picture(self.paths[row], self.shape) if self.paths else self.data[row]
            case "map":
                return torch.from_numpy(read_npy(self.paths[row]))
            case "labels":
                labels = read_labels(self.paths[row], self.size)
                return torch.where(labels < 0, UNLABELLED, labels)
            case _:
                known = self.name == "known"
                path = self.paths[row]
                return (read_known(path, self.size, white="known") if known else read_mask(path, self.size))[
                    None
                ]

    def partners(self, first: Source) -> list[int | None]:
        """For each item of another source the row here that belongs to it, matched without suffixes.

        One mask serves all. Names that never match are paired in order if there are as many, and said to be.
        """
        if self.kind.name == "mask" and len(self) == 1:
            return [0] * len(first)
        stems = {_stem(name): i for i, name in enumerate(self.names)}
        found = [stems.get(_stem(name)) for name in first.names]
        if any(row is not None for row in found) or len(self) != len(first):
            return found
        pair = f"{first.names[0]} with {self.names[0]}"
        print(f"headwater: --{self.name} has other names: taken in order, {pair} ...", file=sys.stderr)
        return list(range(len(first)))

    def all_partners(self, first: Source) -> list[int]:
        """`partners`, every item having one. UserError names an item without."""
        found = self.partners(first)
        for name, row in zip(first.names, found, strict=True):
            if row is None:
                raise UserError(
                    f"--{self.name} has nothing for {name}: give one file of the same name for each"
                )
        return [row for row in found if row is not None]


def together(sources: dict[str, Source], progress: bool = True) -> dict[str, Tensor]:
    """All items that every source has. UserError if there are none."""
    first, *others = sources.values()
    first.check_names()
    columns = [list(range(len(first))), *(other.partners(first) for other in others)]
    rows = [row for row in zip(*columns, strict=True) if None not in row]
    if not rows:
        names = " and ".join(f"--{name}" for name in sources)
        raise UserError(f"{names} have no file name in common: give the files of one item the same name")
    found: dict[str, list[Tensor]] = {name: [] for name in sources}
    for row in tqdm(rows, desc="reading", delay=2, disable=not progress):
        for (name, source), i in zip(sources.items(), row, strict=True):
            found[name].append(source.read([i or 0]))
    return {name: _as_classes(sources[name], torch.cat(parts)) for name, parts in found.items()}


def _as_classes(source: Source, value: Tensor) -> Tensor:
    """Label maps that are black and white are masks: white is class 1 there, not unlabelled."""
    if source.kind.name != "labels" or value.unique().tolist() != [0, UNLABELLED]:
        return value
    print(f"headwater: --{source.name} is black and white: white is taken for class 1", file=sys.stderr)
    return (value > 0).long()


def write(kind: Kind, folder: Path, name: str, value: Tensor) -> None:
    """Write one item's output: folder/<name>.png, for maps also .npy. Scores go into one table."""
    path = folder / f"{_stem(name)}.png"
    match kind.name:
        case "images":
            save_picture(value, path)
        case "mask":
            save_mask(value.reshape(value.shape[-2:]), path)
        case "labels":
            save_labels(torch.where(value == UNLABELLED, -1, value), path)
        case "map":
            buffer = io.BytesIO()
            np.save(buffer, value.cpu().numpy(), allow_pickle=False)
            write_file(path.with_name(f"{path.stem}.npy"), buffer.getvalue())
            top = float(value.max())
            save_picture(2 * value / top - 1 if top > 0 else value - 1, path)
        case "scores":
            raise ValueError("scores are written together, as one table")


def add_scores(path: Path, names: Sequence[str], values: Sequence[float]) -> None:
    """Append one number per item to a CSV file; its first line names the columns."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if not path.exists():
        table.writerow(("name", path.stem))
    table.writerows((name, repr(float(value))) for name, value in zip(names, values, strict=True))
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


def read_scores(path: Path) -> tuple[list[str], list[float]]:
    """Names and numbers of a CSV file with one item a line. UserError names a line that holds no number."""
    names, values = [], []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                values.append(float(row[-1]))
                names.append(row[0])
            except (ValueError, IndexError):
                need(number == 1, f"{path}, line {number}, has no number at its end: correct it")
    need(bool(names), f"{path} holds no scores: give a CSV file of names and numbers")
    return names, values


def _loose(where: str) -> bool:
    """Whether these are pictures that are read one by one: a folder, or a single picture."""
    path = Path(where).expanduser()
    if where.partition(":")[0].removesuffix("-hue") in shipped.names():
        return False
    return path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES)


def _stem(name: str) -> str:
    """A name without the suffix of a file."""
    suffix = Path(name).suffix.lower()
    return name[: -len(suffix)] if suffix in (*SUFFIXES, ".npy") else name
