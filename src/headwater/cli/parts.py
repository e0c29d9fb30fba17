"""What an unfinished run has done: one small file a batch, the last that is written of it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headwater.atomic import file_written_aside, read_json, sha256, write_file
from headwater.errors import UserError
from headwater.notes import note

FOLDER = "unfinished"
"""Below OUT, as long as a run is not finished."""
_PLAN = "files.json"
Stamp = tuple[int, int, str]
"""Size, time of change in nanoseconds and SHA-256 of a file."""


@dataclass(frozen=True)
class Part:
    """One finished batch: items `start` to `stop` - 1."""

    start: int
    stop: int
    skipped: dict[str, str] = field(default_factory=dict)
    """Name of each item that cannot be read, and why."""
    lines: dict[str, str] = field(default_factory=dict)
    """Its lines of each output that is a common table."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that was written, by its name below OUT."""
    read: dict[str, Stamp] = field(default_factory=dict)
    """What each file was that was read, by its path."""


class Parts:
    """The finished batches of a run, kept in a folder that several processes may write to."""

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out / FOLDER

    def plan(self, files: Iterable[str]) -> None:
        """Note the files that the run may write, so that whoever replaces it removes no other."""
        write_file(self.folder / _PLAN, json.dumps({"files": list(files)}))

    def planned(self) -> list[str]:
        """The files that the run may have written; none where it did not come so far as to say it."""
        path = self.folder / _PLAN
        return [str(name) for name in read_json(path, None).get("files", [])] if path.is_file() else []

    def add(self, part: Part) -> None:
        """Call it when all files of the batch are whole."""
        write_file(self.folder / f"{part.start:09d}.json", json.dumps(dataclasses.asdict(part)))

    def __iter__(self) -> Iterator[Part]:
        for path in sorted(self.folder.glob("[0-9]*.json")):
            try:
                yield Part(**json.loads(path.read_bytes()))
            except (TypeError, ValueError):
                raise UserError(f"{path} is damaged: remove it, and its items are done again") from None

    def check(self) -> None:
        """Forget batches of which a file is not as it was written: they are done again, which a note says.

        Raises UserError, naming it, for a file that was read and is not as it was: results of two states of
        it would be mixed.
        """
        for part in list(self):
            for path, stamp in part.read.items():
                if not is_same(path, stamp):
                    raise UserError(
                        f"{path} is not the file that {self.out} was begun with: bring it back, or choose "
                        "another --out"
                    )
            bad = next((name for name, value in part.files.items() if not _holds(self.out / name, value)), "")
            if bad:
                note("is not as it was written: it is done again", bad)
                (self.folder / f"{part.start:09d}.json").unlink()

    def left(self, total: int, batch: int) -> list[range]:
        """The batches that are still to do. Where `batch` stays as it was, they are those of a first run."""
        found: list[range] = []
        begin = 0
        for start, stop in [*((part.start, part.stop) for part in self), (total, total)]:
            found += [range(i, min(i + batch, start)) for i in range(begin, start, batch)]
            begin = stop
        return found

    def skipped(self) -> dict[str, str]:
        """All items that cannot be read, in order."""
        return {name: why for part in self for name, why in part.skipped.items()}

    def files(self) -> dict[str, str]:
        """SHA-256 of all files that were written, by name below OUT."""
        return {name: value for part in self for name, value in part.files.items()}

    def read(self) -> dict[str, str]:
        """SHA-256 of all files that were read, by path."""
        return {path: value for part in self for path, (_, _, value) in part.read.items()}

    def join(self, tables: Mapping[str, tuple[str, str]]) -> None:
        """Write the common tables, output -> (file, its first line), one batch after the other."""
        if not self.folder.is_dir():
            return
        for key, (name, head) in tables.items():
            with file_written_aside(self.out / name) as aside, aside.open("wb") as file:
                file.write(head.encode())
                file.writelines(part.lines.get(key, "").encode() for part in self)

    def remove(self) -> None:
        """The run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def stamp(path: Path) -> Stamp:
    """What a file is now."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, sha256(path)


def is_same(path: str | os.PathLike[str], was: Stamp) -> bool:
    """Whether a file holds what it held; its contents are read only if its time of change is another."""
    try:
        found = os.stat(path)
        size, time, value = was
        return found.st_size == size and (found.st_mtime_ns == time or sha256(path) == value)
    except OSError:
        return False


def _holds(path: Path, value: str) -> bool:
    try:
        return sha256(path) == value
    except OSError:
        return False
