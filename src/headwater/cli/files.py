"""The inputs of a method: opened by the kind that its page declares, paired by name, read a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from headwater.cli.kinds import FAMILIES, Request
from headwater.cli.kinds.family import Shape
from headwater.cli.methods import Size
from headwater.cli.pairing import key_of, one, partners, rows_of
from headwater.cli.parts import Stamp, stamp
from headwater.cli.record import read_record, recorded_input
from headwater.data import UnreadableError
from headwater.data.kspace import Slices
from headwater.data.nifti import files_of
from headwater.data.reading import UNSAID, Reading
from headwater.data.volumes import Grid
from headwater.errors import UserError
from headwater.methods.base import Kind
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
        self.names, self.results = self.items.names, ask.results
        self._stamps: dict[Path, Stamp] = {}

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

    def file(self, row: int) -> Path | None:
        """The file that an item is read from; None of what ships."""
        if isinstance(self.items, Slices):
            return self.items.places[row][0]
        paths: Sequence[Path] = getattr(self.items, "paths", ()) or getattr(self.items, "files", ())
        if paths:
            return paths[row % len(paths)]  # a mask that is drawn on a turned picture has a row of its own
        given = Path(self.ask.where).expanduser()
        return next((p for p in (given, Path(str(given).rpartition(":")[0])) if p.is_file()), None)

    def read_from(self, rows: Sequence[int]) -> dict[str, Stamp]:
        """The files that items were read from, as they are now."""
        read = {path for path in map(self.file, rows) if path is not None}
        files = {file for path in read for file in files_of(path)}
        for path in files - self._stamps.keys():
            self._stamps[path] = stamp(path)
        return {str(path): self._stamps[path] for path in sorted(files)}

    @property
    def mark(self) -> dict[str, Any]:
        """What tells these items from others: how many, and a hash of their names."""
        names = "\0".join(self.names).encode("utf-8", "surrogateescape")
        return {"items": len(self), "names": hashlib.sha256(names).hexdigest()}

    def check_names(self) -> None:
        """UserError if two items differ in their suffix at most: their results would be one file."""
        seen: dict[str, str] = {}
        for name in self.names:
            other = seen.get(key_of(name))
            if other == name:
                raise UserError(
                    f"--{self.name} has {self.names.count(name)} {self.family.noun[1]} called {name}, which "
                    "would have one result: name them apart, or keep one"
                )
            if other is not None:
                raise UserError(f"--{self.name}: {other} and {name} would have one result: rename one")
            seen[key_of(name)] = name

    def read(self, rows: Sequence[int]) -> Any:
        """These items as the method wants them. UnreadableError names a file that is no good."""
        found = {i: self.items[i] for i in dict.fromkeys(rows)}  # one mask may serve all
        return self.family.collate([found[i] for i in rows])

    def read_good(self, rows: Sequence[int], on_error: OnError) -> tuple[dict[int, Any], dict[int, str]]:
        """The items that can be read, by row, and with `skip` why the others cannot."""
        good, bad = dict[int, Any](), dict[int, str]()
        for row in rows:
            try:
                good[row] = self.items[row]
            except UnreadableError as error:
                if on_error == "stop":
                    raise UserError(f"{error}, or add --on-error skip") from None
                bad[row] = str(error)
        return good, bad

    def count(self, number: int) -> str:
        """`1 picture`, `5 pictures`."""
        return f"{number} {self.family.noun[number != 1]}"

    def all_partners(
        self, first: Source, on_error: OnError = "stop"
    ) -> tuple[list[int | None], dict[int, str]]:
        """For each item of another source the one here that belongs to it; with `skip` None where it lacks
        one that fits, and why. UserError names an item without, or with several."""
        bad: dict[int, str] | None = None if on_error == "stop" else {}
        pairs = zip(first.names, partners(self, first, bad), strict=True)
        found = [one(self, name, rows) for name, rows in pairs]
        none = "--{} has nothing for {}"
        lacks = {i: none.format(self.name, first.names[i]) for i, rows in enumerate(found) if not rows}
        for name, rows in zip(first.names, found, strict=True):
            if not rows and on_error == "stop":
                what = "file" if self.family.looks == "cell" else "item"
                raise UserError(
                    f"--{self.name} has nothing for {name}: give one {what} of the same name for each"
                )
        return [rows[0] if rows else None for rows in found], {**lacks, **(bad or {})}


def open_all(
    wanted: Mapping[str, Kind],
    where: Mapping[str, str | None],
    shape: Shape | None,
    results: Sequence[str] = (),
    reading: Reading = UNSAID,
    made: Collection[str] = (),
    originals: Source | None = None,
    classes: int = 0,
    size: Size = "asked",
) -> dict[str, Source]:
    """The inputs that were given, by argument.

    shape: channels, height and width of pictures; without it, those of the first picture hold for all.
    results: names of a method's results, where these are read: a file of rows may hold the truth under one of
        them, and a list of texts in place of a text.
    reading: what the user said about files that can mean several things.
    made: the inputs that a method wrote, in the numbering and size that it works in.
    originals: the pictures that masks and label maps are drawn on; by default those among the inputs.
    classes: how many classes label maps have at least, if that is known.
    size: whose height and width pictures are read at, where `shape` says some.
    """
    loose = any(kind.name == "kspace" for kind in wanted.values())
    given = {name: kind for name, kind in wanted.items() if where[name] is not None}
    captions = any(kind.name == "images" for kind in given.values())
    sources: dict[str, Source] = {}
    for name in sorted(given, key=lambda name: given[name].name != "images"):
        # A mask of k-space belongs to its own grid, which no prior decides.
        own = None if loose and given[name].name == "mask" else shape
        # What the user says is about files of the user's; tables of ours are written in the manner of these.
        said = UNSAID if name in made and given[name].name != "series" else reading
        if size != "asked" and own is not None:
            first = Source(given[name], Request(name, str(where[name]), reading=said))
            shape, size = _whole(own, first, size), "asked"
            own = shape
        ask = Request(
            name,
            str(where[name]),
            own,
            tuple(results),
            bool(results),
            said,
            made=name in made,
            classes=classes,
            by_line=given[name].several or (captions and given[name].name == "texts"),
        )
        sources[name] = Source(given[name], ask)
        shape = shape or sources[name].shape
    others = [source for source in sources.values() if source.name not in made]
    seen = [source for source in others if source.kind.name in ("images", "measured")]
    pictures = originals or next((measured_of(source) or source for source in seen), None)
    for source in others:
        source.pictures = pictures
    return {name: sources[name] for name in given}


def _whole(shape: Shape, pictures: Source, size: Size) -> Shape:
    """The shape of pictures as stored, in the channels of `shape`; `shape` itself where only larger ones are
    asked for and these are smaller."""
    height, width = (pictures.shape or shape)[1:]
    smaller = height < shape[1] or width < shape[2]
    return shape if smaller and size == "larger" else (shape[0], height, width)


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


class Given(NamedTuple):
    """Items that belong together."""

    values: dict[str, Any]
    """By input, as a method takes them."""
    items: int
    """How many of the first input are among them."""
    pairs: int
    """How often they are: more where an item has several texts to learn."""


def together(sources: dict[str, Source], progress: bool = True) -> Given:
    """All items that every source has, and all of those that stand apart. UserError if there are none."""
    found: dict[str, list[Any]] = {name: [] for name in sources}
    for name, source in sources.items():
        if source.kind.apart:
            found[name] = [source.items[i] for i in track(range(len(source)), "reading", shown=progress)]
    paired = {name: source for name, source in sources.items() if not source.kind.apart}
    rows = rows_of(paired)
    kept: dict[str, dict[int, Any]] = {name: {} for name in paired}  # a picture may be in several rows
    for row in track(rows, "reading", shown=progress):
        for (name, source), cell in zip(paired.items(), row, strict=True):
            for i in (cell,) if isinstance(cell, int) else cell:
                if i not in kept[name]:
                    kept[name][i] = source.items[i]
            found[name].append(_joined(kept[name], cell))
    first = next(iter(sources), "")
    items = len({row[0] for row in rows}) if first in paired else len(found.get(first, ()))
    values = {name: s.family.collate(found[name]) for name, s in sources.items()}
    return Given(values, items, max(items, len(rows)))


def _joined(read: dict[int, Any], cell: int | tuple[int, ...]) -> Any:
    """One item, or all texts of several rows; a row may hold a list itself."""
    if isinstance(cell, int):
        return read[cell]
    texts = [text for i in cell for text in ([read[i]] if isinstance(read[i], str) else read[i])]
    return texts[0] if len(texts) == 1 else texts
