"""What an unfinished run has done: one small file a batch, the last that is written of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from headwater.atomic import ASIDE, file_written_aside, write_file
from headwater.errors import UserError

FOLDER = "unfinished"
"""Below OUT, as long as a run is not finished."""


@dataclass(frozen=True)
class Part:
    """One finished batch: items `start` to `stop` - 1."""

    start: int
    stop: int
    skipped: dict[str, str]
    """Name of each item that cannot be read, and why."""
    lines: dict[str, str]
    """Its lines of each output that is a common table."""


class Parts:
    """The finished batches of a run, kept in a folder that several processes may write to."""

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out / FOLDER

    def add(self, part: Part) -> None:
        """Call it when all files of the batch are whole."""
        write_file(self.folder / f"{part.start:09d}.json", json.dumps(dataclasses.asdict(part)))

    def __iter__(self) -> Iterator[Part]:
        for path in sorted(self.folder.glob("[0-9]*.json")):
            try:
                yield Part(**json.loads(path.read_bytes()))
            except (TypeError, ValueError):
                raise UserError(f"{path} is damaged: remove it, and its items are done again") from None

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

    def join(self, tables: Mapping[str, tuple[str, str] | None]) -> None:
        """Write the common tables, output -> (file, its first line), one batch after the other."""
        for key, (name, head) in ((key, table) for key, table in tables.items() if table):
            if not self.folder.is_dir():
                return
            with file_written_aside(self.out / name) as aside, aside.open("wb") as file:
                file.write(head.encode())
                file.writelines(part.lines.get(key, "").encode() for part in self)

    def remove(self) -> None:
        """The run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep_files(folder: Path) -> None:
    """Remove the files that killed processes left half-written below a folder."""
    for left in folder.rglob(f"{ASIDE}*"):
        left.unlink(missing_ok=True)
