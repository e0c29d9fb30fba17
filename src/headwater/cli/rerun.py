"""`headwater rerun OUT/run.yaml`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

import tyro
import yaml

from headwater.cli.options import parse
from headwater.cli.record import hashes
from headwater.cli.work import answer
from headwater.errors import need

_VERBS = ("apply", "sample", "fit")


@dataclass(frozen=True)
class Options:
    """Repeat a run and compare every result with the recorded SHA-256."""

    record: Annotated[Path, tyro.conf.Positional]
    """The run.yaml of an output folder, or the folder."""
    out: Path | None = None
    """Where to keep the new results; by default they are thrown away after the comparison."""
    json: bool = False
    """Print the comparison as JSON."""


def run(argv: Sequence[str]) -> int:
    """Repeat a run; returns 1 when anything differs."""
    options = parse(Options, argv, "headwater rerun")
    path = options.record / "run.yaml" if options.record.is_dir() else options.record
    need(path.is_file(), f"{path} does not exist: give the run.yaml of an output folder")
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    good = isinstance(record, dict) and record.get("verb") in _VERBS and "options" in record
    need(good, f"{path} is no record of apply, sample or fit")
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch) / "again"
        verb = import_module(f"headwater.cli.{record['verb']}")
        target = [record["target"]] if record["target"] else []
        code = verb.run([*target, "--config", str(path), "--out", str(out), *_positional(record)])
        need(code == 0, "the run itself failed this time")
        new, old = hashes(out), record["outputs"]
    differing = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    values = {"identical": not differing, "compared": len(old), "differing": differing}
    if differing:
        sentence = f"{len(differing)} of {len(old)} results differ, first {differing[0]}"
    else:
        sentence = f"all {len(old)} results are bit-identical"
    answer(options.json, sentence, values)
    return 1 if differing else 0


def _positional(record: dict) -> list[str]:
    return [record["options"]["prior"]] if record["verb"] == "sample" else []
