"""Which items of several inputs belong together: by name, by the file's own name, or in order, and said."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headwater.cli.kinds.family import stem
from headwater.cli.sizes import fitted
from headwater.data.wording import short
from headwater.errors import UserError
from headwater.notes import note, note_some

if TYPE_CHECKING:
    from headwater.cli.files import Source

Row = tuple[int | tuple[int, ...], ...]
"""Of each input an item, or those that are all right for one item of the others."""


def key_of(name: str) -> str:
    """What two names of one item have in common: no suffix, and accents in one form."""
    return unicodedata.normalize("NFC", stem(name))


def partners(own: Source, first: Source, bad: dict[int, str] | None = None) -> list[list[int]]:
    """For each item of `first` the rows of `own` that belong to it; several where texts share a name.

    Rows of masks, label maps and pictures fit the pictures that they belong to, and are turned as these are:
    see `headwater.cli.sizes`. Raises UserError where there are two ways, or one does not fit, unless `bad`
    takes the sentence, by item of `first`.
    """
    found = _matched(own, first)
    if own.kind.name not in ("images", "mask", "labels", "ids") or own.pictures is own or own.ask.made:
        return found
    on: list[int | None] = list(range(len(first)))
    if own.pictures is not first:
        rows = {key_of(name): i for i, name in enumerate(own.pictures.names if own.pictures else ())}
        on = [rows.get(key_of(name)) for name in first.names]
    drawn = fitted(own, [rows[0] if rows else None for rows in found], own.pictures, on, bad)
    return [[] if row is None else [row] for row in drawn]


def _matched(own: Source, first: Source) -> list[list[int]]:
    """`partners` by name or in order, not yet compared with the pictures.

    One mask serves all, and one set of coil maps. Items without names of their own, such as lines, and items
    of which no name matches are paired in order if there are as many, and said to be. Raises UserError where
    there are two ways.
    """
    if own.kind.name in ("mask", "maps") and len(own) == 1:
        return [[0]] * len(first)
    rows = _rows_by_key(own)
    keys = [key_of(name) for name in first.names]
    found = [list(rows.get(key, ())) for key in keys]
    if numbered(own) != numbered(first):
        lines, files = (own, first) if numbered(own) else (first, own)
        if all(found) and (len(own) == len(first) or own.results):
            return found
        if len(own) != len(first):
            raise UserError(
                f"--{lines.name} has {lines.count(len(lines))} without names for "
                f"{files.count(len(files))} of --{files.name}: give one line for each, in order, or name them"
            )
        return _in_order(own, first)
    _by_bare_name(own, first, rows, keys, found)
    if any(found) or len(own) != len(first):
        return found
    return _in_order(own, first)


def numbered(source: Source) -> bool:
    """Whether its items are called by the number of their line, for want of names."""
    return bool(getattr(source.items, "numbered", False))


def rows_of(sources: dict[str, Source]) -> list[Row]:
    """The items that belong together, of each source one; every pair where a picture has several texts.

    Of `References` all texts of an item. UserError if there are none, or names do not say which.
    """
    if not sources:
        return []
    first, *others = sources.values()
    if first.kind.name != "texts" or first.results:
        first.check_names()
    columns = [(other, partners(other, first)) for other in others]
    place, found = Counter[str](), list[Row]()
    held = Counter(map(key_of, first.names))
    for i, name in enumerate(first.names):
        key, cells = key_of(name), list[list[int] | tuple[int, ...]]()
        for other, column in columns:
            if other.results and other.kind.several:
                cells.append(tuple(column[i]))
            else:
                cells.append(column[i] if not other.results else one(other, name, column[i]))
        if all(cells):
            found += _pairs(i, name, held[key], place[key], cells, sources)
        place[key] += 1
    if not found:
        names = " and ".join(f"--{name}" for name in sources)
        counts = " and ".join(source.count(len(source)) for source in sources.values())
        raise UserError(
            f"{names} have no file name in common ({counts}): give the files of one item the same name"
        )
    for k, other in enumerate(others, 1):
        _note_strays(other, found, k, first)
    return found


def one(own: Source, name: str, rows: list[int]) -> list[int]:
    """The rows, if they are one or none. UserError if there are several texts for an item that takes one."""
    if len(rows) > 1:
        raise UserError(
            f"--{own.name} has {len(rows)} {own.family.noun[1]} for {name}, and one is taken: keep one"
        )
    return rows


def _pairs(
    i: int,
    name: str,
    held: int,
    place: int,
    cells: Sequence[list[int] | tuple[int, ...]],
    sources: dict[str, Source],
) -> list[Row]:
    """The rows of item i, the `place`-th of `held` of its name, with its partners."""
    counts = [1 if isinstance(cell, tuple) else len(cell) for cell in cells]
    many = {held, *counts} - {1}
    if len(many) > 1:
        each = ", ".join(f"{n} of --{key}" for key, n in zip(sources, [held, *counts], strict=True))
        raise UserError(f"{name} stands for {each}: give as many of each, or one, or name them apart")
    places = [place] if held > 1 else range(max(many, default=1))
    return [(i, *(c if isinstance(c, tuple) else c[min(p, len(c) - 1)] for c in cells)) for p in places]


def _rows_by_key(own: Source) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(own.names):
        rows.setdefault(key_of(name), []).append(i)
    if own.kind.name != "texts":
        twice = next((found for found in rows.values() if len(found) > 1), None)
        if twice is not None:
            names = " and ".join(own.names[i] for i in twice[:2])
            raise UserError(f"--{own.name}: {names} differ in their suffix alone: rename or remove one")
    return rows


def _by_bare_name(
    own: Source, first: Source, rows: dict[str, list[int]], keys: list[str], found: list[list[int]]
) -> None:
    """Find items in other folders by the file's own name, where that name is the only one on both sides."""
    taken = {key for key, some in zip(keys, found, strict=True) if some}
    bare: dict[str, list[str]] = {}
    for key in rows:
        bare.setdefault(key.rpartition("/")[2], []).append(key)
    askers = Counter(key.rpartition("/")[2] for key in dict.fromkeys(keys))
    said = list[str]()
    for i, key in enumerate(keys):
        name = key.rpartition("/")[2]
        free = [other for other in bare.get(name, ()) if other not in taken]
        if found[i] or not free:
            continue
        if askers[name] > 1 or len(bare[name]) > 1:
            ours = [own.names[rows[other][0]] for other in free]
            theirs = [n for n, k in zip(first.names, keys, strict=True) if k.rpartition("/")[2] == name]
            raise UserError(
                f"--{own.name}: {_listed(ours)} may belong to {_listed(theirs)}: put both in folders of one "
                "name, or give them names of their own"
            )
        found[i] = rows[free[0]]
        said.append(f"{first.names[i]} with {own.names[rows[free[0]][0]]}")
    if said:
        note(f"names differ in their folders: paired by the file's own name, {said[0]} ...", f"--{own.name}")


def _in_order(own: Source, first: Source) -> list[list[int]]:
    """The k-th with the k-th. UserError where lists of files are in another order than people count in."""
    if _counting(own.names) != _counting(first.names):
        files = own if _counting(first.names) == list(range(len(first))) else first
        order = _counting(files.names)
        k = next(k for k, i in enumerate(order) if k != i)
        raise UserError(
            f"--{own.name} and --{first.name} have no names in common, and their order is not clear: "
            f"{files.names[k]} comes before {files.names[order[k]]} by its letters: name them alike, or with "
            "numbers of one length"
        )
    ends = [f"{first.names[k]} with {own.names[k]}" for k in dict.fromkeys((0, len(own) - 1))]
    note(f"has other names: taken in order, {' ... '.join(ends)}", f"--{own.name}")
    return [[i] for i in range(len(first))]


def _counting(names: Sequence[str]) -> list[int]:
    """The order in which people count sorted names: 2 before 10. Names that are not sorted have their own."""
    if list(names) != sorted(names):
        return list(range(len(names)))

    def value(i: int) -> list[tuple[int, int, str]]:
        return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.findall(r"\d+|\D+", names[i])]

    return sorted(range(len(names)), key=value)


def _note_strays(own: Source, rows: Sequence[Row], column: int, first: Source) -> None:
    """Say which items of an input belong to none of the first: nobody has learnt from them."""
    if own.results or own.kind.name == "mask":
        return
    cells = [row[column] for row in rows]
    used = {i % len(own) for cell in cells for i in (cell if isinstance(cell, tuple) else (cell,))}
    left = [short(own.names[i]) for i in range(len(own)) if i not in used]
    note_some(f"of --{own.name} had nothing of --{first.name} to go with", left, len(own), own.family.noun[1])


def _listed(names: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(names[:3]))
