"""The card of a fitted method that ships: README.md beside its run.yaml."""

from __future__ import annotations

import json
from pathlib import Path

from headwater.atomic import write_file


def write_card(folder: Path, training: Path, rows: dict[str, str]) -> None:
    """Write folder/README.md: a table of rows, and steps and minutes as the log in `training` has them."""
    lines = (training / "log.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    size = sum(p.stat().st_size for p in folder.rglob("*.safetensors")) / 1e6
    table = {
        **rows,
        "Steps": f"{last['step']:,}",
        "Minutes": f"{last['seconds'] / 60:.0f}, on one CPU core",
        "Last loss": f"{last['loss']:.4f}",
        "Size": f"{size:.1f} MB, half precision",
        "Settings": "run.yaml",
    }
    text = f"# {folder.name}\n\n| | |\n|---|---|\n" + "".join(f"| {k} | {v} |\n" for k, v in table.items())
    write_file(folder / "README.md", text)
