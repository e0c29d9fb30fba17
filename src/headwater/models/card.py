"""The model card: README.md in the form that the Hugging Face hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.models.pretrained import Pretrained


def card(trained: Pretrained) -> str:
    """Markdown with a YAML head. Known keys of `config.about`: name, data, steps, time, metrics, licence."""
    about: Mapping[str, Any] = getattr(trained.config, "about", {})
    rows, name = trained.described(), type(trained).__name__
    apart = {k: v for k, v in about.items() if isinstance(v, Mapping)}
    rows |= {_title(k): _cell(v) for k, v in about.items() if k not in ("name", "licence", *apart)}
    rows["Licence"] = _cell(about.get("licence", "not stated"))
    head = {"library_name": "headwater", "tags": ["diffusion", *trained.tags]}
    if isinstance(about.get("licence"), str):
        head["license"] = about["licence"].lower()
    lines = ["---", *(f"{k}: {json.dumps(v)}" for k, v in head.items()), "---", ""]
    lines += [f"# {_cell(about.get('name', f'A trained {trained.kind}'))}", "", "| | |", "|---|---|"]
    lines += [f"| {k} | {v} |" for k, v in rows.items()]
    home = trained.home or type(trained).__module__
    lines += ["", "```python", f"from {home} import {name}", ""]
    lines += [f'{trained.kind.replace("-", "_")} = {name}.from_pretrained("PATH OR NAME OF THIS FOLDER")']
    lines += [*trained.example, "```"]
    for name, values in apart.items():
        lines += ["", f"## {_title(name)}", "", "```yaml", *_yaml(values), "```"]
    return "\n".join(lines) + "\n"


def _title(key: Any) -> str:
    return str(key).replace("_", " ").capitalize()


def _yaml(values: Mapping[str, Any]) -> list[str]:
    import yaml

    text = yaml.safe_dump(json.loads(json.dumps(dict(values), default=str)), sort_keys=False, width=100)
    return text.replace("```", "").splitlines()


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(_cell, value))
    elif isinstance(value, float):
        value = f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
