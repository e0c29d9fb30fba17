"""Put a fitted method into the gallery: half-precision weights, run.yaml and a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from headwater.atomic import write_file
from headwater.cli.options import plain
from headwater.gallery import folder


def ship(name: str, target: str, fitted: Any, method: object, training: Path, about: dict[str, str]) -> None:
    """Write the folder `name` of the gallery as `headwater fit target` leaves one, without checkpoints.

    method: the dataclass that fitted it. training: where its log lies. about: rows
    of the card.
    """
    out = folder("fitted") / name
    fitted.save_pretrained(out / "fitted", torch.float16)
    record = {"verb": "fit", "target": target, "options": {"method": plain(method)}}
    write_file(out / "run.yaml", yaml.safe_dump(record, sort_keys=False))
    write_card(out, training, about)


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
