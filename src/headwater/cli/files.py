"""The inputs of a method: opened by the kind that its page declares, paired by name, read a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headwater.cli.kinds import FAMILIES, Request
from headwater.cli.kinds.family import Shape, stem
from headwater.cli.pairs import fitted
from headwater.cli.record import read_record, recorded_input
from headwater.data import UnreadableError
from headwater.data.kspace import Slices
from headwater.data.reading import UNSAID, Reading
from headwater.data.volumes import Grid
from headwater.errors import UserError
from headwater.methods.base import Kind
from headwater.notes import note
from headwater.progress import track

OnError = Literal["stop", "skip"]


class Source:
    """The files of one input, read a few at a time."""

    def __init__(self, kind: Kind, ask: Request) -> None:
        self.name, self.kind, self.family, self.ask = ask.name, kind, FAMILIES[kind.name], ask
        self.pictures: Source | None = None
        """The pictures that these items belong to and must fit, as far as they are known."""
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
    def grid(self) -> Grid | None:
        """Where its pictures lie in the volume that they are slices of, if they are any."""
        return getattr(self.items, "grid", None)

    def affine(self, row: int) -> np.ndarray | None:
        """Where an item lies, (4, 4), if its file says it: see `headwater.data.kspace.Slices.affine`."""
        return self.items.affine(row) if isinstance(self.items, Slices) else None

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
        return self._as_drawn(self._matched(first), first)

    def _matched(self, first: Source) -> list[int | None]:
        """`partners`, not yet compared with the pictures."""
        if self.kind.name == "mask" and len(self) == 1:
            return [0] * len(first)
        stems = {stem(name): i for i, name in enumerate(self.names)}
        found = [stems.get(stem(name)) for name in first.names]
        if any(row is not None for row in found) or len(self) != len(first):
            return found
        pair = f"{first.names[0]} with {self.names[0]}"
        note(f"has other names: taken in order, {pair} ...", f"--{self.name}")
        return list(range(len(first)))

    def _as_drawn(self, rows: list[int | None], first: Source) -> list[int | None]:
        """Rows of masks, label maps or pictures that fit the pictures; UserError names one that does not."""
        if self.kind.name not in ("images", "mask", "labels") or self.pictures is self or self.ask.made:
            return rows
        names = self.pictures.names if self.pictures else []
        stems = {stem(name): i for i, name in enumerate(names)}
        on = [stems.get(stem(name)) for name in first.names]
        return fitted(self, rows, self.pictures, list(range(len(first))) if self.pictures is first else on)

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
    made: Collection[str] = (),
    originals: Source | None = None,
    classes: int = 0,
) -> dict[str, Source]:
    """The inputs that were given, by argument.

    shape: channels, height and width of pictures; without it, those of the first picture hold for all.
    results: names of a method's results, where these are read: a file of rows may hold the truth under one of
        them, and a list of texts in place of a text.
    reading: what the user said about files that can mean several things.
    made: the inputs that a method wrote, in the numbering and size that it works in.
    originals: the pictures that masks and label maps are drawn on; by default those among the inputs.
    classes: how many classes label maps have at least, if that is known.
    """
    loose = any(kind.name == "kspace" for kind in wanted.values())
    given = {name: kind for name, kind in wanted.items() if where[name] is not None}
    sources: dict[str, Source] = {}
    for name in sorted(given, key=lambda name: given[name].name != "images"):
        # A mask of k-space belongs to its own grid, which no prior decides.
        size = None if loose and given[name].name == "mask" else shape
        said = UNSAID if name in made else reading  # what the user says is about files of the user's
        ask = Request(
            name, str(where[name]), size, tuple(results), bool(results), said, name in made, classes
        )
        sources[name] = Source(given[name], ask)
        shape = shape or sources[name].shape
    others = [source for source in sources.values() if source.name not in made]
    seen = [source for source in others if source.kind.name in ("images", "measured")]
    pictures = originals or next((measured_of(source) or source for source in seen), None)
    for source in others:
        source.pictures = pictures
    return {name: sources[name] for name in given}


def measured_of(source: Source) -> Source | None:
    """The pictures that `headwater degrade` measured to make these, if they are still there."""
    path = Path(source.ask.where).expanduser()
    if source.kind.name != "measured":
        return None
    try:
        record = read_record(path.parent if path.is_dir() else path.parent.parent) if path.exists() else {}
        where = recorded_input(record, "image") if record.get("verb") == "degrade" else None
        return Source(Kind("images", ""), replace(source.ask, name="image", where=where)) if where else None
    except UserError:
        return None


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
    return {name: s.family.collate(found[name]) for name, s in sources.items()}


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
