"""`headwater evaluate METHOD`: results against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.cli.files import open_all, together
from headwater.cli.kinds import FAMILIES
from headwater.cli.methods import (
    answers,
    help_of,
    inputs_of,
    kinds,
    options_of,
    reading_of,
    recorded_method,
    spare,
    verb_of,
)
from headwater.cli.options import parse
from headwater.cli.record import read_record
from headwater.cli.work import Switch, answer
from headwater.data.pictures import SUFFIXES
from headwater.data.reading import UNSAID
from headwater.errors import UserError, need
from headwater.methods.base import Kind
from headwater.methods.catalogue import entry


@dataclass(frozen=True, kw_only=True)
class Options:
    """What evaluating any method takes."""

    result: Path
    """Folder that `headwater apply` wrote; what it holds or was made from need not be given."""
    json: Switch = False
    """Print the numbers as JSON."""


def run(argv: Sequence[str]) -> int:
    """Print the numbers of a method's `evaluate` for a folder that `apply` wrote."""
    name, method = argv[0], entry(argv[0]).load()
    function = verb_of(method, "evaluate")
    fields = inputs_of(function, optional=True)
    free = {**dict.fromkeys(fields), **vars(UNSAID)}
    kind = options_of("evaluate", name, Options, fields | answers(function), free)
    options: Any = parse(kind, argv[1:], f"headwater evaluate {name}")
    need(options.result.is_dir(), f"--result: {options.result} is no folder that `headwater apply` wrote")
    record, wanted = read_record(options.result), kinds(function)
    need(
        record.get("target", name) == name,
        f"{options.result} holds results of {record.get('target')}: evaluate them with that method",
    )
    where = {key: _where(key, kind, options, record, key in spare(function)) for key, kind in wanted.items()}
    pictures = any(kind.name in ("images", "mask", "labels", "map") for kind in wanted.values())
    shape = _shape(options.result) if pictures else None
    sources = open_all(wanted, where, shape, tuple(wanted), reading_of(options, record))
    given = together(sources, not options.json)
    first, count = next(iter(sources.values())), len(next(iter(given.values())))
    numbers = recorded_method(method, record).evaluate(**given)  # pyright: ignore[reportAttributeAccessIssue]
    width = max(map(len, numbers))
    lines = "\n".join(f"{key:>{width}}  {value:.6g}" for key, value in numbers.items())
    noun, of = first.family.noun[1], len(first)
    items = f"{count} {noun}" if count == of else f"{count} of {of} {noun}: the others have no truth"
    return answer(options.json, f"{lines}\n({items})", {**numbers, noun: count})


def _where(key: str, kind: Kind, options: Any, record: dict[str, Any], free: bool) -> str | None:
    """An input by its option, else from the result folder, else from where `apply` had it."""
    flag, where = f"--{key.replace('_', '-')}", getattr(options, key)
    result = options.result / FAMILIES[kind.name].results(key)
    where = where or (str(result) if result.exists() else None)
    where = where or (record.get("options") or {}).get(key)
    if where is None and free:
        return None
    if where is None:
        raise UserError(f"{flag} is missing: give {help_of(key, kind)}")
    if not Path(where).is_absolute() and getattr(options, key) is None and "directory" in record:
        beside = Path(record["directory"]) / where
        found = beside.exists() or Path(str(beside).rpartition(":")[0]).is_file()
        where = str(beside) if found else where
    return str(where)


def _shape(result: Path) -> tuple[int, int, int] | None:
    """Channels and size of the pictures in a result folder, if it has any."""
    from PIL import Image

    found = sorted(path for path in result.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        return None
    with Image.open(found[0]) as picture:
        return (3 if picture.mode == "RGB" else 1, picture.height, picture.width)
