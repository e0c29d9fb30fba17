"""The size that is worked at; and masks, label maps and pictures against the pictures that they belong to: of
one size, and turned alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import torch

from headwater.cli.kinds.family import Request, Shape
from headwater.cli.kinds.pictures import Drawn
from headwater.cli.usage import WrongUsage
from headwater.data.orientation import Layout, layout_of
from headwater.data.reading import UNSAID, Reading
from headwater.errors import UserError
from headwater.notes import note

if TYPE_CHECKING:
    from headwater.cli.files import Source
    from headwater.methods.base import Kind
    from headwater.models import Prior

Size = tuple[int, int]
SIZE = (
    "Size to work at where pictures are larger than the prior's: HEIGHTxWIDTH, or `own` for that of the "
    "first picture; its network is asked tile by tile, and the tiles are blended in every step."
)
_ALONE = (
    "is of another shape than the results, and there is no picture to compare it with: its middle is taken, "
    "as of pictures"
)


def for_size(
    prior: Prior,
    said: str | None,
    pictures: Mapping[str, tuple[Kind, str | None]] = MappingProxyType({}),
    reading: Reading = UNSAID,
) -> Prior:
    """The prior for pictures of the size that was asked for, see `Prior.tiled`; without one its own, and a
    note where the pictures are larger.

    pictures: the inputs that are pictures, with what was given. Raises UserError for a size that cannot be.
    """
    from headwater.cli.files import Source

    given = next(((key, kind, where) for key, (kind, where) in pictures.items() if where), None)
    if said is not None and said != "own":
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", said)
        if found is None:
            raise WrongUsage(f"--size cannot be {said!r}: give HEIGHTxWIDTH, such as 200x600, or own")
        return prior.tiled(int(found[1]), int(found[2]))
    stored = None
    if given is not None:
        key, kind, where = given
        try:
            stored = Source(kind, Request(key, str(where), reading=reading)).shape
        except UserError:  # whoever reads them says what is wrong, or what they are taken for
            if said == "own":
                raise
    if said == "own":
        if stored is None:
            raise WrongUsage("--size own: no picture says the size of the results: give HEIGHTxWIDTH")
        return prior.tiled(*stored[1:])
    own = prior.shape[1:]
    much = stored is not None and min(n / m for n, m in zip(stored[1:], own, strict=True)) >= 2
    if given is not None and stored is not None and much:
        what = f"the pictures are {_by(stored[1:])} and are worked on at the prior's {_by(own)}"
        note(f"{what}: --size own gives results of their size", f"--{given[0]}")
    return prior


def fitted(
    source: Source,
    rows: Sequence[int | None],
    pictures: Source | None,
    on: Sequence[int | None],
    bad: dict[int, str] | None = None,
) -> list[int | None]:
    """The rows of items that belong to pictures, masks and label maps turned as their picture is if need be.

    rows: the item of each pair, or None; on: its picture, or None where that is not known. bad: takes the
        sentence of each pair that does not fit, which is then None, in place of an error.
    Raises UserError, naming both sizes, for an item that does not fit: a mask or label map has the size of
    its picture as that is seen or as it is stored, a picture has the proportions of the other, and both may
    have the size that is worked at. Where a mask fits its picture both ways, and these differ, it asks.
    """
    working = source.ask.shape[1:] if source.ask.shape else None
    if working is None:  # a mask of k-space
        return list(rows)
    mine, theirs = _Layouts(source), _Layouts(pictures)
    decided: dict[tuple[int, Layout], int] = {}
    found: list[int | None] = []
    for place, (row, at) in enumerate(zip(rows, on, strict=True)):
        found.append(row)
        item = mine.of(row)
        if row is None or item is None or (item.seen == working and not theirs.may_turn):
            continue
        picture = theirs.of(at)
        if at is None and not _alike(item.seen, working):
            note(_ALONE, f"{source.ask.flag} {source.names[row]}")
        if at is None or pictures is None or picture is None:  # what cannot be read is said by its reader
            continue
        if (row, picture) not in decided:
            pair = _Pair(source, row, item, pictures.names[at], picture, working)
            try:
                decided[row, picture] = pair.row(source.ask.reading.drawn_on)
            except UserError as error:
                if bad is None:
                    raise
                bad[place], found[-1] = str(error), None
                continue
        found[-1] = decided[row, picture]
    return found


class _Layouts:
    """How the pictures of a source lie in their files, or how large they were in the array they are from."""

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self.paths: list[Path] | None = None if source is None else getattr(source.items, "paths", None)
        self.may_turn = self.paths is not None
        self.known: dict[int, Layout | None] = {}

    def of(self, row: int | None) -> Layout | None:
        if row is None or self.source is None:
            return None
        key = row if self.may_turn else 0  # pictures of an array have one size
        if key not in self.known:
            self.known[key] = self._read(self.source, key)
        return self.known[key]

    def _read(self, source: Source, row: int) -> Layout | None:
        if self.paths is not None:
            return layout_of(self.paths[row])
        shape: Shape | None = getattr(source.family.open(replace(source.ask, shape=None)), "shape", None)
        return None if shape is None else Layout(shape[1:])


def _by(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _alike(one: Size, other: Size) -> bool:
    """Whether two sizes have the same proportions, a pixel more or less."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


class _Pair:
    """A mask, label map or picture, and the picture that it belongs to."""

    def __init__(
        self, source: Source, row: int, item: Layout, name: str, picture: Layout, working: Size
    ) -> None:
        self.source, self.at, self.item, self.name, self.picture = source, row, item, name, picture
        self.working = working
        self.flag, self.file = source.ask.flag, source.names[row]

    def row(self, said: Literal["seen", "stored"] | None) -> int:
        """The row to read: that of the turned item, if it is drawn on the picture as it is stored."""
        items, item, picture = self.source.items, self.item, self.picture
        if not isinstance(items, Drawn):
            if item.seen == self.working or _alike(item.seen, picture.seen):
                return self.at
            raise UserError(f"{self._sizes()}: give one of the same proportions")
        # What has a tag of its own was turned with the picture by whoever made it.
        may_be_stored = picture.turned and not item.turned
        as_seen = item.seen in (picture.seen, self.working)
        as_stored = may_be_stored and item.stored == picture.stored
        turned = items.turned(self.at, picture.tag)
        if said == "stored" and may_be_stored and item.seen != self.working and not as_stored:
            raise UserError(f"{self._sizes()}: with --drawn-on stored, give one of the stored size")
        if as_stored and as_seen and said is None and not torch.equal(items[self.at], items[turned]):
            raise UserError(
                f"{self.flag}: the picture {self.name} is turned by its orientation tag {picture.tag}, "
                f"and {self.file} fits it as it is stored and as it is seen: add --drawn-on seen if it was "
                "drawn on the picture as viewers show it, else --drawn-on stored"
            )
        if as_stored and said is None and not as_seen:
            what = "is drawn on the picture as it is stored: it is turned as the picture is"
            note(what, f"{self.flag} {self.file}")
        if as_stored and (said == "stored" or (said is None and not as_seen)):
            return turned
        if as_seen:
            return self.at
        raise UserError(f"{self._sizes()}: give one of that size, or of the {_by(self.working)} worked at")

    def _sizes(self) -> str:
        what = {"labels": "label map", "ids": "map", "mask": "mask"}.get(self.source.kind.name, "picture")
        own = f" by its orientation tag {self.item.tag}" if self.item.turned else ""
        tag = f" with the orientation tag {self.picture.tag}"
        stored = f", stored as {_by(self.picture.stored)}{tag}" if self.picture.turned else ""
        return (
            f"{self.flag}: the {what} {self.file} is {_by(self.item.seen)}{own} and the picture {self.name} "
            f"{_by(self.picture.seen)}{stored}"
        )
