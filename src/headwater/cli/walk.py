"""A method over all items of its inputs, batch by batch: read, apply, write; memory does not grow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from headwater.atomic import names_synced_later, sync_folders
from headwater.cli.files import OnError, Source
from headwater.cli.kinds import FAMILIES
from headwater.cli.methods import taken_apart
from headwater.cli.parts import Part, Parts
from headwater.methods.base import Kind
from headwater.progress import ProgressBar
from headwater.sampling import Run

_Made = tuple[str, dict[str, Any], np.ndarray | None]
"""Name of an item, its outputs, and the affine of its place if its file has one."""
SHOWN = 12
"""Items on the page."""
_WRITERS = 8
"""Files written at once. Each waits for the disk alone; several that wait together wait once."""


@dataclass
class Walk:
    """What is applied to what. Items are numbered by their place in the first input, whatever is left out."""

    method: Any
    sources: dict[str, Source]
    given: dict[str, Any]
    """The prior and what was fitted, as the method takes them."""
    outputs: dict[str, Kind]
    run: Run
    on_error: OnError
    shown: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The first items that were done, for the page."""

    def __post_init__(self) -> None:
        self.first, *others = self.sources.values()
        self.first.check_names()
        self.partners = {s.name: s.all_partners(self.first) for s in others}

    def over(self, batches: Sequence[range], out: Path, page: Callable[[], None] | None) -> None:
        """Do these batches. One is written while the next is computed, and noted when its files are whole.

        page: called once, with enough items shown, before the batch that made them so is noted.
        """
        parts, open_ = Parts(out), list[_Open]()
        quiet = not self.run.progress or len(batches) < 2
        noun, total = self.first.family.noun[1], sum(map(len, batches))
        bar = ProgressBar(total, noun, unit=noun, shown=not quiet)
        with bar, ThreadPoolExecutor(_WRITERS) as pool:
            try:
                for number, rows in enumerate(batches, 1):
                    skipped, items = self._batch(rows)
                    if page and (len(self.shown) >= SHOWN or number == len(batches)):
                        page()
                        page = None
                    _note(parts, open_)
                    files = [pool.submit(self._write, out, name, made, at) for name, made, at in items]
                    open_.append(_Open(rows, skipped, files))
                    bar.update(len(rows))
            finally:
                _note(parts, open_)

    def _batch(self, rows: range) -> tuple[dict[str, str], list[_Made]]:
        """What was left out, and the outputs of each other item, with its name and place."""
        good, skipped = self.first.read_good(rows, self.on_error)
        done: list[_Made] = []
        for part in _consecutive(good):
            names = [self.first.names[i] for i in part]
            items = {self.first.name: self.first.family.collate([good[i] for i in part])}
            for key, partner in self.partners.items():
                items[key] = self.sources[key].read([partner[i] for i in part])
            result = self.method.apply(**self.given, **items, **replace(self.run, first=part[0]))
            made = taken_apart(result, self.outputs)
            for i in range(min(len(part), SHOWN - len(self.shown))):
                self.shown.append((names[i], {k: _kept(v[i]) for k, v in {**items, **made}.items()}))
            for i, (name, row) in enumerate(zip(names, part, strict=True)):
                done.append((name, {k: v[i] for k, v in made.items()}, self.first.affine(row)))
        return skipped, done

    def _write(
        self, out: Path, name: str, made: dict[str, Any], at: np.ndarray | None
    ) -> tuple[dict[str, str], set[Path]]:
        """One item's files; gives its lines of common tables, and the folders to sync."""
        with names_synced_later() as folders:
            families = {k: FAMILIES[kind.name].at(at) for k, kind in self.outputs.items()}
            return {k: family.write(out, k, name, made[k]) for k, family in families.items()}, folders


@dataclass(frozen=True)
class _Open:
    """A batch that is being written."""

    rows: range
    skipped: dict[str, str]
    files: list[Future[tuple[dict[str, str], set[Path]]]]


def _note(parts: Parts, open_: list[_Open]) -> None:
    """Wait for what is being written, then note it as done."""
    while open_:
        batch = open_.pop()
        lines, folders = dict[str, str](), set[Path]()
        for file in batch.files:
            said, touched = file.result()
            folders |= touched
            for key, line in said.items():
                lines[key] = lines.get(key, "") + line
        sync_folders(folders)
        parts.add(Part(batch.rows.start, batch.rows.stop, batch.skipped, lines))


def _consecutive(rows: Iterable[int]) -> list[list[int]]:
    """Rows in a row: noise is numbered on from the first of a call."""
    groups = itertools.groupby(enumerate(rows), lambda pair: pair[1] - pair[0])
    return [[row for _, row in group] for _, group in groups]


def _kept(item: Any) -> Any:
    """An item that does not hold on to its batch."""
    return item.clone() if isinstance(item, Tensor) else item
