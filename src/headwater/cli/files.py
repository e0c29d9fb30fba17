"""The inputs of a method: opened by the kind that its page declares, paired by name, read a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from headwater.cli.kinds import FAMILIES, Request
from headwater.cli.kinds.family import Shape, stem
from headwater.data import UnreadableError
from headwater.data.masks import UNLABELLED
from headwater.data.reading import UNSAID, Reading
from headwater.errors import UserError
from headwater.methods.base import Kind
from headwater.notes import note
from headwater.progress import track

OnError = Literal["stop", "skip"]


class Source:
    """The files of one input, read a few at a time."""

    def __init__(self, kind: Kind, ask: Request) -> None:
        self.name, self.kind, self.family = ask.name, kind, FAMILIES[kind.name]
        try:
            self.items = self.family.open(ask)
        except UnreadableError as error:
            raise UserError(f"{ask.flag}: {error}") from None
        self.names = self.items.names

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> Shape | None:
        """Channels, height and width of its items, if these are pictures."""
        return getattr(self.items, "shape", None)

    @property
    def mark(self) -> dict[str, Any]:
        """What tells these items from others: how many, and a hash of their names."""
        names = "\0".join(self.names).encode("utf-8", "surrogateescape")
        return {"items": len(self), "names": hashlib.sha256(names).hexdigest()}

    def check_names(self) -> None:
        """UserError if two items differ in their suffix at most: their results would be one file."""
        seen: dict[str, str] = {}
        for name in self.names:
            other = seen.get(stem(name))
            if other is not None:
                raise UserError(f"--{self.name}: {other} and {name} would have one result: rename one")
            seen[stem(name)] = name

    def read(self, rows: Sequence[int]) -> Any:
        """These items as the method wants them. UnreadableError names a file that is no good."""
        found = {i: self.items[i] for i in dict.fromkeys(rows)}  # one mask may serve all
        return self.family.collate([found[i] for i in rows])

    def read_good(self, rows: Sequence[int], on_error: OnError) -> tuple[dict[int, Any], dict[str, str]]:
        """The items that can be read, by row, and with `skip` the names of the others, with reasons."""
        good, bad = dict[int, Any](), dict[str, str]()
        for row in rows:
            try:
                good[row] = self.items[row]
            except UnreadableError as error:
                if on_error == "stop":
                    raise UserError(f"{error}, or add --on-error skip") from None
                bad[self.names[row]] = str(error)
        return good, bad

    def count(self, number: int) -> str:
        """`1 picture`, `5 pictures`."""
        return f"{number} {self.family.noun[number != 1]}"

    def partners(self, first: Source) -> list[int | None]:
        """For each item of another source the row here that belongs to it, matched without suffixes.

        One mask serves all. Names that never match are paired in order if there are as many, and said to be.
        """
        if self.kind.name == "mask" and len(self) == 1:
            return [0] * len(first)
        stems = {stem(name): i for i, name in enumerate(self.names)}
        found = [stems.get(stem(name)) for name in first.names]
        if any(row is not None for row in found) or len(self) != len(first):
            return found
        pair = f"{first.names[0]} with {self.names[0]}"
        note(f"has other names: taken in order, {pair} ...", f"--{self.name}")
        return list(range(len(first)))

    def all_partners(self, first: Source) -> list[int]:
        """`partners`, every item having one. UserError names an item without."""
        found = self.partners(first)
        for name, row in zip(first.names, found, strict=True):
            if row is None:
                what = "file" if self.family.looks == "cell" else "item"
                raise UserError(
                    f"--{self.name} has nothing for {name}: give one {what} of the same name for each"
                )
        return [row for row in found if row is not None]


def open_all(
    wanted: Mapping[str, Kind],
    where: Mapping[str, str | None],
    shape: Shape | None,
    results: Sequence[str] = (),
    reading: Reading = UNSAID,
) -> dict[str, Source]:
    """The inputs that were given, by argument.

    shape: channels, height and width of pictures; without it, those of the first picture hold for all.
    results: names of a method's results, where these are read: a file of rows may hold the truth under one of
        them, and a list of texts in place of a text.
    reading: what the user said about files that can mean several things.
    """
    loose = any(kind.name == "kspace" for kind in wanted.values())
    given = {name: kind for name, kind in wanted.items() if where[name] is not None}
    sources: dict[str, Source] = {}
    for name in sorted(given, key=lambda name: given[name].name != "images"):
        # A mask of k-space belongs to its own grid, which no prior decides.
        size = None if loose and given[name].name == "mask" else shape
        ask = Request(name, str(where[name]), size, tuple(results), bool(results), reading)
        sources[name] = Source(given[name], ask)
        shape = shape or sources[name].shape
    return {name: sources[name] for name in given}


def together(sources: dict[str, Source], progress: bool = True) -> dict[str, Any]:
    """All items that every source has, and all of those that stand apart. UserError if there are none."""
    found: dict[str, list[Any]] = {name: [] for name in sources}
    for name, source in sources.items():
        if source.kind.apart:
            found[name] = [source.items[i] for i in track(range(len(source)), "reading", shown=progress)]
    paired = {name: source for name, source in sources.items() if not source.kind.apart}
    for row in track(_rows(paired), "reading", shown=progress):
        for (name, source), i in zip(paired.items(), row, strict=True):
            found[name].append(source.items[i or 0])
    return {name: _as_classes(s, s.family.collate(found[name])) for name, s in sources.items()}


def _rows(sources: dict[str, Source]) -> list[tuple[int | None, ...]]:
    """The items of the first source that all others have a partner for, with these."""
    if not sources:
        return []
    first, *others = sources.values()
    first.check_names()
    columns = [list(range(len(first))), *(other.partners(first) for other in others)]
    rows = [row for row in zip(*columns, strict=True) if None not in row]
    if not rows:
        names = " and ".join(f"--{name}" for name in sources)
        raise UserError(f"{names} have no file name in common: give the files of one item the same name")
    return rows


def _as_classes(source: Source, value: Any) -> Any:
    """Label maps that are black and white are masks: white is class 1 there, not unlabelled."""
    if source.kind.name != "labels" or not isinstance(value, torch.Tensor):
        return value
    if value.unique().tolist() != [0, UNLABELLED]:
        return value
    note("is black and white: white is taken for class 1", f"--{source.name}")
    return (value > 0).long()
