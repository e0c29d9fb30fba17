"""run.yaml: what was run, with what, and what came out, so that it can be run again and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from headwater.atomic import sha256, write_file
from headwater.cli.options import plain
from headwater.cli.voice import noted
from headwater.errors import UserError, need
from headwater.plain_yaml import read_yaml
from headwater.report.page import running_versions

NAME, PAGE = "run.yaml", "index.html"
_COMPARED = (".png", ".npy", ".npz", ".csv", ".jsonl", ".gz", ".safetensors")
"""What a rerun must reproduce bit for bit; pages and logs hold times."""
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""In C where PyYAML has it: the record of 10,000 files is long."""
_TYPES: dict[str, type] = {
    **dict.fromkeys(("verb", "target", "directory"), str),
    **dict.fromkeys(("options", "versions", "outputs", "skipped"), dict),
    "notes": list,
}
"""What stands under the names of a record, where anything does."""


def write_record(
    out: Path,
    verb: str,
    target: str,
    options: Any,
    about: Mapping[str, Any],
    results: Sequence[str] | Mapping[str, str] | None,
    pages: Sequence[str] = (PAGE,),
) -> Path:
    """Write out/run.yaml: verb, target, resolved options, versions, notes, results with SHA-256.

    results: the folders and files below `out` to hash, or their hashes by name; None before there are any,
    which marks a run that was not finished. pages: what else the run wrote, which a rerun need not repeat.
    """
    path = out / NAME
    record = {
        "verb": verb,
        "target": target,
        "directory": str(Path.cwd()),
        "options": plain(options),
        "versions": {**running_versions(), "threads": str(torch.get_num_threads())},
        **plain(about),
    }
    # A run that was stopped and goes on keeps what it noted of its first files.
    if notes := list(dict.fromkeys([*read_record(out).get("notes", []), *noted()])):
        record["notes"] = notes
    if results is not None:
        record["outputs"] = dict(results) if isinstance(results, Mapping) else hashes(out, results)
        record["pages"] = {name: sha256(out / name) for name in pages if (out / name).is_file()}
    write_file(path, yaml.dump(record, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))
    return path


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an output folder; empty if there is none."""
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        found = read_yaml(path)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({why}): restore it, or remove it to go on without") from None
    need(isinstance(found, dict), f"{path} is no record of a run: remove it to go on without")
    for name, kind in _TYPES.items():
        held = found.get(name)
        right = held is None or (isinstance(held, kind) and _named(held))
        need(right, f"{path} is damaged ({name} is no {_WORDS[kind]}): restore it, or remove it")
    return found


_WORDS = {str: "text", dict: "table by names", list: "list of texts"}


def _named(held: Any) -> bool:
    """Whether a table of a record has texts for names, and a list of it texts alone."""
    return not isinstance(held, dict | list) or all(isinstance(key, str) for key in held)


def recorded_input(record: Mapping[str, Any], key: str) -> str | None:
    """Where a run had one of its inputs: as given, or below the folder that it started in if it is there."""
    where = (record.get("options") or {}).get(key)
    if not isinstance(where, str) or Path(where).is_absolute() or "directory" not in record:
        return where if isinstance(where, str) else None
    beside = Path(record["directory"]) / where
    found = beside.exists() or Path(str(beside).rpartition(":")[0]).is_file()
    return str(beside) if found else str(where)


def hashes(out: Path, results: Sequence[str]) -> dict[str, str]:
    """SHA-256 of every result among the named files and folders, by its name below `out`."""
    found = [
        p for name in results for p in ((out / name).rglob("*") if (out / name).is_dir() else [out / name])
    ]
    files = sorted(p for p in found if p.is_file() and is_compared(p.name))
    return {p.relative_to(out).as_posix(): sha256(p) for p in files}


def is_compared(name: str) -> bool:
    """Whether a rerun must reproduce the file of that name."""
    return Path(name).suffix in _COMPARED
