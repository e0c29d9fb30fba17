"""What the command line must know about a kind of file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from headwater.data.kspace import MAGNITUDE
from headwater.data.listing import TABLES
from headwater.data.pictures import SUFFIXES, list_pictures
from headwater.data.reading import UNSAID, Reading
from headwater.errors import need
from headwater.report import Cell

Shape = tuple[int, int, int]
_SUFFIXES = (".nii.gz", *TABLES, ".npz", *MAGNITUDE, *SUFFIXES)


@dataclass(frozen=True)
class Request:
    """One input as the user gave it."""

    name: str
    """The method's argument."""
    where: str
    """Path, or name of a shipped set."""
    shape: Shape | None = None
    """Channels, height and width of pictures; None keeps those of the files."""
    fields: tuple[str, ...] = ()
    """Other names under which a file may hold this argument."""
    results: bool = False
    """Whether a text may be a list of candidates: as a result, never as something to work on."""
    reading: Reading = UNSAID
    """What the user said about files that can mean several things."""
    made: bool = False
    """Whether these are results of a method, of which nothing need be asked."""
    classes: int = 0
    """Of label maps: how many classes there are at least, as far as is known."""
    by_line: bool = False
    """Whether each line of a text file in a folder is a text: where one picture may have several."""

    @property
    def flag(self) -> str:
        """The option it was given with."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def path(self) -> Path:
        """Where the files are. UserError if nothing is there."""
        found = Path(self.where).expanduser()
        need(found.exists(), f"{self.flag}: {self.where} does not exist: check the path")
        return found


class Items(Protocol):
    """The items of one input."""

    @property
    def names(self) -> list[str]:
        """What each is called."""
        ...

    def __getitem__(self, row: int, /) -> Any:
        """One item. UnreadableError, naming its file, if it is no good."""
        ...


@dataclass(frozen=True)
class Files:
    """One file an item, read by a function of its path."""

    names: list[str]
    paths: list[Path]
    one: Callable[[Path], Any]
    """Path -> item."""
    shape: Shape | None = None
    """Of pictures: what each is brought to."""

    def __getitem__(self, row: int) -> Any:
        return self.one(self.paths[row])


class Family(ABC):
    """How one kind is read, put together, written and shown."""

    noun: ClassVar[tuple[str, str]] = ("picture", "pictures")
    """One item, and several."""
    looks: ClassVar[str] = "cell"
    """Its place on a page: a `cell` of a grid of pictures, `words` of a table, or a `curve`; else none."""

    @abstractmethod
    def open(self, ask: Request) -> Items:
        """The items of an input. UserError if nothing is there, or it is of another kind."""

    def collate(self, items: Sequence[Any]) -> Any:
        """Items as a method takes them: a batch."""
        sizes = sorted({tuple(item.shape) for item in items})
        need(len(sizes) == 1, f"the files are {' and '.join(map(str, sizes[:3]))}: bring them to one size")
        return torch.stack(list(items))

    def of(self, method: Any) -> Family:
        """The family for results of a method, whose settings may say how they are written."""
        return self

    def at(self, affine: np.ndarray | None) -> Family:
        """The family for results that lie there, (4, 4), where its files can say so."""
        return self

    def results(self, key: str) -> str:
        """The file or folder in OUT that an output goes to."""
        return key

    def files(self, key: str, name: str) -> list[str]:
        """The files below OUT that an item of an output gets; none where all share a table."""
        return []

    @abstractmethod
    def write(self, out: Path, key: str, name: str, item: Any) -> str:
        """A finished item: written to its `files`, or given back as its line of a common table.

        Several items may be written at once, by as many threads.
        """

    def table(self, key: str) -> tuple[str, str] | None:
        """The file in OUT that all items of an output share, and what it begins with; None if they do not."""
        return None

    def cells(self, items: Sequence[Any]) -> list[Cell]:
        """Items as pictures of a page."""
        return list(items)


def stem(name: str) -> str:
    """A name without the suffix of a file."""
    low = name.lower()
    return next((name[: -len(suffix)] for suffix in _SUFFIXES if low.endswith(suffix)), name)


def picture_files(ask: Request, one: Callable[[Path], Any], shape: Shape | None = None) -> Files:
    """The pictures of a folder, or a single one."""
    path = ask.path
    paths = [path] if path.is_file() else list_pictures(path)
    return Files(relative(paths, path), paths, one, shape)


def relative(paths: Sequence[Path], root: Path) -> list[str]:
    """Names of files: relative to the folder that was given, if one was."""
    return [p.relative_to(root).as_posix() if root.is_dir() else p.name for p in paths]
