"""`headwater rerun OUT/run.yaml`."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro

from headwater.cli.options import parse
from headwater.cli.record import NAME, read_record
from headwater.cli.work import Switch, answer
from headwater.errors import need

_VERBS = ("apply", "sample", "fit")


@dataclass(frozen=True)
class Options:
    """Repeat a run and compare every result with the recorded SHA-256."""

    record: Annotated[Path, tyro.conf.Positional]
    """The run.yaml of an output folder, or the folder."""
    out: Path | None = None
    """Where to keep the new results; by default they are thrown away after the comparison."""
    json: Switch = False
    """Print the comparison as JSON, and no progress."""


def run(argv: Sequence[str]) -> int:
    """Repeat a run; returns 1 when anything differs."""
    options = parse(Options, argv, "headwater rerun")
    folder = options.record if options.record.is_dir() else options.record.parent
    path = (folder / NAME if options.record.is_dir() else options.record).resolve()
    need(path.is_file() and path.name == NAME, f"{path} does not exist: give the {NAME} of an output folder")
    record = read_record(path.parent)
    good = record.get("verb") in _VERBS and isinstance(record.get("options"), dict)
    need(good, f"{path} is no record of apply, sample or fit")
    need(
        isinstance(record.get("outputs"), dict),
        f"the run of {path} was not finished: there is nothing to compare",
    )
    with tempfile.TemporaryDirectory() as scratch:
        out = (options.out or Path(scratch) / "again").resolve()
        _repeat(record, path, out, options.json)
        again = read_record(out)
    old, new = record["outputs"], again["outputs"]
    differing = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    values = {"identical": not differing, "compared": len(old), "differing": differing}
    why = _changes(record, again)
    if differing:
        sentence = f"{len(differing)} of {len(old | new)} results differ, first {differing[0]}{why}"
    else:
        sentence = f"all {len(old)} results are" if len(old) > 1 else f"the {len(old)} result is"
        sentence += " bit-identical"
    answer(options.json, sentence, values)
    return 1 if differing else 0


def _repeat(record: Mapping[str, Any], path: Path, out: Path, quiet: bool) -> None:
    verb = import_module(f"headwater.cli.{record['verb']}")
    words = [record["target"]] if record.get("target") else []
    words += ["--config", str(path), "--out", str(out), *(["--json"] if quiet else [])]
    where = Path(str(record.get("directory", ".")))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(where if where.is_dir() else "."):
        need(verb.run(words) == 0, "the run itself failed this time")


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What is not as it was: the likely reason of a difference."""
    for key, what in {"prior_hash": "the prior", "fitted_hash": "the fitted network"}.items():
        if old.get(key) != new.get(key):
            return f"; {what} is not the one that was used"
    for kind in ("inputs", "read"):
        then, now = old.get(kind) or {}, new.get(kind) or {}
        other = next((name for name, value in then.items() if now.get(name) != value), None)
        if other is not None:
            return f"; {'--' if kind == 'inputs' else ''}{other} is not what was read"
    before, after = old.get("versions") or {}, new.get("versions") or {}
    changed = [f"{k} was {before[k]}, is {after.get(k)}" for k in before if before[k] != after.get(k)]
    return f"; {', '.join(changed)}" if changed else ""
