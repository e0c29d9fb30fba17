"""run.yaml: what was run, with what, and what came out, so that it can be run again and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from headwater.cli.options import plain
from headwater.data.saving import write_atomic
from headwater.errors import need
from headwater.report.page import running_versions

NAME = "run.yaml"
_COMPARED = (".png", ".npy", ".npz", ".csv", ".safetensors")
"""What a rerun must reproduce bit for bit; pages and logs hold times."""


def open_output(out: Path, overwrite: bool = False) -> Path:
    """Make the output folder. UserError if it holds something already, or cannot be written."""
    need(not out.is_file(), f"{out} is a file: choose a folder for --out")
    taken = out.is_dir() and any(out.iterdir())
    need(overwrite or not taken, f"{out} is not empty: choose another --out, or add --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    return out


def write_record(out: Path, verb: str, target: str, options: Any, about: Mapping[str, Any]) -> Path:
    """Write out/run.yaml: verb, target, resolved options, versions, outputs with SHA-256."""
    path = out / NAME
    record = {
        "verb": verb,
        "target": target,
        "options": plain(options),
        "versions": dict(running_versions()),
        **plain(about),
        "outputs": hashes(out),
    }
    write_atomic(path, yaml.safe_dump(record, sort_keys=False, allow_unicode=True).encode())
    return path


def hashes(out: Path) -> dict[str, str]:
    """SHA-256 of every result below a folder, by its name there."""
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.suffix in _COMPARED)
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
