"""A method over all items of its inputs, batch by batch: read, apply, write; memory does not grow."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from headwater.atomic import names_synced_later, sha256, sync_folders
from headwater.cli.files import OnError, Source
from headwater.cli.kinds import FAMILIES, Family
from headwater.cli.methods import taken_apart
from headwater.cli.parts import Part, Parts, Stamp
from headwater.errors import LeftAlone, UserError, need
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
    planned: Sequence[str] = ()
    """The files that it may write, which are noted before the first one."""
    shown: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The first items that were done, for the page."""

    def __post_init__(self) -> None:
        self.first, *others = self.sources.values()
        self.first.check_names()
        self.partners = {s.name: s.all_partners(self.first, self.on_error) for s in others}

    @property
    def families(self) -> dict[str, Family]:
        """How each output is written and shown."""
        return {key: FAMILIES[kind.name].of(self.method) for key, kind in self.outputs.items()}

    @property
    def tables(self) -> dict[str, tuple[str, str]]:
        """The file in OUT that all items of an output share, and what it begins with, by output."""
        found = {key: family.table(key) for key, family in self.families.items()}
        return {key: table for key, table in found.items() if table}

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
                    skipped, items, read = self._batch(rows)
                    if page and (len(self.shown) >= SHOWN or number == len(batches)):
                        page()
                        page = None
                    _note(parts, open_)
                    if self.planned and not parts.planned():
                        parts.plan(self.planned)
                    files = [pool.submit(self._write, out, name, made, at) for name, made, at in items]
                    open_.append(_Open(rows, skipped, read, files))
                    bar.update(len(rows))
            finally:
                _note(parts, open_)

    def _batch(self, rows: range) -> tuple[dict[str, str], list[_Made], dict[str, Stamp]]:
        """What was left out, the outputs of each other item with its name and place, and what was read."""
        good, bad = self.first.read_good(rows, self.on_error)
        theirs = dict[str, dict[int, Any]]()
        for key, (partner, lacks) in self.partners.items():
            wanted = dict.fromkeys(j for i in good if (j := partner[i]) is not None)
            theirs[key], wrong = self.sources[key].read_good(list(wanted), self.on_error)
            for i in list(good):
                j = partner[i]
                if j not in theirs[key]:
                    bad[i] = lacks[i] if j is None else wrong[j]
                    del good[i]
        done: list[_Made] = []
        for part in _consecutive(good):
            done += self._applied(part, good, theirs, bad)
        read = self.first.read_from(list(good))
        for key, items in theirs.items():
            read |= self.sources[key].read_from(list(items))
        return {self.first.names[i]: bad[i] for i in sorted(bad)}, done, read

    def _applied(
        self, part: list[int], good: dict[int, Any], theirs: dict[str, dict[int, Any]], bad: dict[int, str]
    ) -> list[_Made]:
        """The outputs of items in a row. One that is no good alone, or of which something is made that is not
        finite, stops the run or is put among the bad ones."""
        try:
            items = {self.first.name: self.first.family.collate([good[i] for i in part])}
            for key, found in theirs.items():
                mine = [found[j] for i in part if (j := self.partners[key][0][i]) is not None]
                items[key] = self.sources[key].family.collate(mine)
            result = self.method.apply(**self.given, **items, **replace(self.run, first=part[0]))
        except UserError as error:
            if self.on_error == "stop" or isinstance(error, LeftAlone):
                raise
            if len(part) > 1:  # which one is it?
                return [made for i in part for made in self._applied([i], good, theirs, bad)]
            bad[part[0]] = str(error)
            return []
        made, done = taken_apart(result, self.outputs), list[_Made]()
        for i, row in enumerate(part):
            name, mine = self.first.names[row], {key: value[i] for key, value in made.items()}
            if endless := next((key for key, value in mine.items() if not _is_finite(value)), None):
                why = f"{name}: {endless} is not finite, as the network overflows: nothing is written of it"
                need(self.on_error == "skip", f"{why}; leave it out, or add --on-error skip")
                bad[row] = why
                continue
            if len(self.shown) < SHOWN:
                seen = {k: value[i] for k, value in items.items() if self.sources[k].family.looks}
                self.shown.append((name, {k: _kept(v) for k, v in {**seen, **mine}.items()}))
            done.append((name, mine, self.first.affine(row)))
        return done

    def _write(
        self, out: Path, name: str, made: dict[str, Any], at: np.ndarray | None
    ) -> tuple[dict[str, str], dict[Path, str]]:
        """One item's files; gives its lines of common tables, and the SHA-256 of each file."""
        with names_synced_later() as files:
            families = {k: family.at(at) for k, family in self.families.items()}
            lines = {k: family.write(out, k, name, made[k]) for k, family in families.items()}
        return lines, {path: sha256(path) for path in sorted(files)}


@dataclass(frozen=True)
class _Open:
    """A batch that is being written."""

    rows: range
    skipped: dict[str, str]
    read: dict[str, Stamp]
    files: list[Future[tuple[dict[str, str], dict[Path, str]]]]


def _note(parts: Parts, open_: list[_Open]) -> None:
    """Wait for what is being written, then note it as done."""
    while open_:
        batch = open_.pop()
        lines, files = dict[str, str](), dict[Path, str]()
        for file in batch.files:
            said, written = file.result()
            files |= written
            for key, line in said.items():
                lines[key] = lines.get(key, "") + line
        sync_folders({path.parent for path in files})
        top = Path(os.path.abspath(parts.out))
        hashes = {path.relative_to(top).as_posix(): value for path, value in files.items()}
        parts.add(Part(batch.rows.start, batch.rows.stop, batch.skipped, lines, hashes, batch.read))


def _consecutive(rows: Iterable[int]) -> list[list[int]]:
    """Rows in a row: noise is numbered on from the first of a call."""
    groups = itertools.groupby(enumerate(rows), lambda pair: pair[1] - pair[0])
    return [[row for _, row in group] for _, group in groups]


def _is_finite(item: Any) -> bool:
    """Whether numbers of a result are numbers; tables may have gaps."""
    if isinstance(item, Tensor):
        return bool(item.isfinite().all())
    return not isinstance(item, float) or math.isfinite(item)


def _kept(item: Any) -> Any:
    """An item that does not hold on to its batch."""
    return item.clone() if isinstance(item, Tensor) else item
