"""The log of a training: one JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headwater.atomic import write_file


class Journal:
    """Appends lines to log.jsonl; on resume, lines after the resumed step are dropped first."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read(path) if line["step"] <= step]
        write_file(path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: dict[str, Any]) -> None:
        """Append one line and hand it to the operating system."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line cut short by a kill is left out."""
    lines = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return lines
