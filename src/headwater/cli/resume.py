"""Going on in the folder of a run that was stopped: it must be the same run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from headwater.cli.options import plain
from headwater.cli.record import read_record
from headwater.errors import need


def same_run(out: Path, verb: str, name: str, options: Any, free: Collection[str]) -> dict[str, Any]:
    """The record in `out` of the command that is now repeated; empty if there is none.

    free: options that may have changed. Raises UserError where another one has.
    """
    record = read_record(out)
    if not record:
        return {}
    need(
        (record.get("verb"), record.get("target")) == (verb, name),
        f"{out} holds no {verb} of {name}: choose another --out",
    )
    old, new = (
        {key: value for key, value in _flat(o).items() if key not in free}
        for o in (record.get("options") or {}, plain(options))
    )
    other = next((key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)), None)
    need(
        other is None,
        f"{out} was begun with {other} {old.get(other or '')}, not {new.get(other or '')}: "
        "repeat its options, or choose another --out",
    )
    return record


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested options with dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
