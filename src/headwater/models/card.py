"""The model card: README.md in the form that the Hugging Face hub reads, from `config.about`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from headwater.models.config import PriorConfig


def card(config: PriorConfig, network: nn.Module) -> str:
    """Markdown with a YAML head. Known keys of `about`: name, data, steps, time, metrics, licence."""
    about = config.about
    count = sum(p.numel() for p in network.parameters())
    channels, height, width = config.shape
    rows = {
        "Shape": f"{channels} x {height} x {width}, values in [-1, 1]",
        "Network": f"{config.network.get('kind', 'adm')}, {count / 1e6:.2f} M parameters",
        "Process": f"{config.process.kind}, T = {config.process.T}, {_schedule(config)}",
        "Output": f"{config.predicts}, variance {config.variance}",
        "Noise": config.noise.get("kind", "white"),
        "Classes": ", ".join(config.classes) or "none",
    }
    apart = {k: v for k, v in about.items() if isinstance(v, Mapping)}
    rows |= {_title(k): _cell(v) for k, v in about.items() if k not in ("name", "licence", *apart)}
    rows["Licence"] = _cell(about.get("licence", "not stated"))
    head = {"library_name": "headwater", "tags": ["diffusion", "unconditional-image-generation"]}
    if isinstance(about.get("licence"), str):
        head["license"] = about["licence"].lower()
    lines = ["---", *(f"{k}: {json.dumps(v)}" for k, v in head.items()), "---", ""]
    lines += [f"# {_cell(about.get('name', 'A diffusion prior'))}", "", "| | |", "|---|---|"]
    lines += [f"| {k} | {v} |" for k, v in rows.items()]
    lines += ["", "```python", "from headwater import Prior", ""]
    lines += [
        'prior = Prior.from_pretrained("PATH OR NAME OF THIS FOLDER")',
        "pictures = prior.sample(16)",
        "```",
    ]
    for name, values in apart.items():
        lines += ["", f"## {_title(name)}", "", "```yaml", *_yaml(values), "```"]
    return "\n".join(lines) + "\n"


def _schedule(config: PriorConfig) -> str:
    process, betas = config.process, config.process.betas
    if process.kind != "vp":
        ends = [f"{end:g}" for end in (process.low, process.high) if end is not None]
        return " to ".join(ends) or "its usual range"
    return f"{betas} schedule" if isinstance(betas, str) else f"{len(betas)} betas in config.json"


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
