"""`headwater evaluate METHOD`: results against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.cli.files import Source, measured_of, open_all, together
from headwater.cli.kinds import FAMILIES, Request
from headwater.cli.methods import (
    answers,
    classes_of,
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
from headwater.cli.record import read_record, recorded_input
from headwater.cli.work import Switch, answer
from headwater.data.label_maps import Held
from headwater.data.listing import files_below
from headwater.data.pictures import SUFFIXES, described, list_pictures
from headwater.data.reading import UNSAID, Reading
from headwater.errors import UserError, need
from headwater.gallery import run_folder
from headwater.methods.base import Kind
from headwater.methods.catalogue import entry, trained


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
    need(
        record.get("verb") != "apply" or "outputs" in record,
        f"{options.result} holds an unfinished run: finish it with --resume before its results are judged",
    )
    where = {key: _where(key, kind, options, record, key in spare(function)) for key, kind in wanted.items()}
    names = {kind.name for kind in wanted.values()}
    shape = _shape(options.result, record) if names & {"images", "mask", "labels", "map"} else None
    made = {key for key in wanted if where[key] == str(_written(options.result, key, wanted[key]))}
    settled = _with_fit(record)
    reading = reading_of(options, settled)
    compared = names & {"images", "mask", "labels"}
    originals = _originals(method, record, shape, reading) if compared else None
    labels = [Path(str(where[key])) for key in made if wanted[key].name == "labels"]
    classes = max((max(Held.by(list_pictures(path)).values, default=0) + 1 for path in labels), default=0)
    if "labels" in names:
        classes = max(classes, _known(name, record))
    sources = open_all(wanted, where, shape, tuple(wanted), reading, made, originals, classes)
    given = together(sources, not options.json)
    first, count = next(iter(sources.values())), given.items
    numbers = recorded_method(method, settled).evaluate(**given.values)  # pyright: ignore[reportAttributeAccessIssue]
    width = max(map(len, numbers))
    lines = "\n".join(f"{key:>{width}}  {value:.6g}" for key, value in numbers.items())
    noun, of = first.family.noun[1], len(first)
    items = f"{count} {noun}" if count == of else f"{count} of {of} {noun}: the others have no truth"
    return answer(options.json, f"{lines}\n({items})", {**numbers, noun: count})


def _where(key: str, kind: Kind, options: Any, record: dict[str, Any], free: bool) -> str | None:
    """An input by its option, else from the result folder, else from where `apply` had it."""
    flag, where = f"--{key.replace('_', '-')}", getattr(options, key)
    result = _written(options.result, key, kind)
    where = where or (str(result) if result.exists() else None) or recorded_input(record, key)
    if where is None and not free:
        raise UserError(f"{flag} is missing: give {help_of(key, kind)}")
    return where


def _written(result: Path, key: str, kind: Kind) -> Path:
    """Where `apply` writes an output."""
    return result / FAMILIES[kind.name].results(key)


def _known(name: str, record: dict[str, Any]) -> int:
    """How many classes what was applied knows; 0 where it is gone."""
    fitted, kind = recorded_input(record, "fitted"), trained(name)
    try:
        return 0 if fitted is None or kind is None else classes_of(kind.from_pretrained(fitted))
    except UserError:
        return 0


def _with_fit(record: dict[str, Any]) -> dict[str, Any]:
    """A record of `apply` that also has the options that what it applied was fitted with: label maps of the
    truth are read as those that were learnt."""
    fitted = recorded_input(record, "fitted")
    try:
        before = (read_record(run_folder(fitted)).get("options") or {}) if fitted else {}
    except UserError:  # it is gone, and not needed any more
        before = {}
    said = {key: value for key, value in (record.get("options") or {}).items() if value}
    return {**record, "options": {**before, **said}}


def _originals(method: Any, record: dict[str, Any], shape: Any, reading: Reading) -> Source | None:
    """The pictures that the method was applied to, or that were measured for it, if they are still there."""
    for key, kind in kinds(verb_of(method, "apply")).items():
        where = recorded_input(record, key) if kind.name in ("images", "measured") else None
        if where is None:
            continue
        try:
            found = Source(kind, Request(key, where, shape, reading=reading))
        except UserError:  # gone, or no longer readable: they are only compared with
            continue
        return found if kind.name == "images" else measured_of(found)
    return None


def _shape(result: Path, record: dict[str, Any]) -> tuple[int, int, int] | None:
    """Channels and size of the pictures that a run wrote, if it wrote any: in colour where those of one
    output are, since masks and maps beside them are grey. Without a record, of all pictures in the folder."""
    named = [result / name for name in record.get("outputs") or {} if name.lower().endswith(SUFFIXES)]
    written = [path for path in named if path.is_file()] or files_below(result, SUFFIXES)
    found = list[tuple[int, int, int]]()
    for path in {path.relative_to(result).parts[0]: path for path in reversed(written)}.values():
        with described(path) as picture:
            found.append((3 if picture.mode == "RGB" else 1, picture.height, picture.width))
    return max(found, default=None)
