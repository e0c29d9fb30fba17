"""Our own format: config.json, model.safetensors, README.md and the manifest that makes them whole."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from headwater.atomic import read_json, verify, write_json, written_aside
from headwater.errors import UserError, need
from headwater.models.card import card
from headwater.models.config import FORMAT, PriorConfig
from headwater.models.filling import blueprint, fill
from headwater.models.options import overridden
from headwater.models.prior import Prior
from headwater.models.schema import build
from headwater.models.state import contents, load_state

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MARK = "headwater"
"""`library` in config.json: tells our folders from diffusers' bare U-Net folders."""
_MISFIT = "{} does not fit the network described: {}; give the config that it was made with"


def write(prior: Prior, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
    """Write a prior so that it is there whole or not at all.

    dtype: float16 or bfloat16 halve the file; None keeps the weights as they are. Raises UserError when
    the place cannot be written, or when float16 cannot hold the weights.
    """
    state = {k: _stored(k, v, dtype) for k, v in prior.network.state_dict().items()}
    with written_aside(folder) as tmp:
        write_json(tmp / CONFIG, {"library": MARK, **dataclasses.asdict(prior.config)})
        save_file(state, tmp / WEIGHTS, metadata={"format": "pt"})
        (tmp / CARD).write_text(card(prior.config, prior.network), encoding="utf-8")


def read(folder: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Prior:
    """Read a folder of ours, weights in float32 on the CPU. Raises UserError when anything is amiss.

    The card is not checked: people edit it.
    """
    folder = Path(folder)
    hashes = verify(folder, (CONFIG, WEIGHTS))
    for name in (CONFIG, WEIGHTS):
        need(name in hashes, f"{folder} has no {name} in its manifest: use another copy of this folder")
    config = overridden(read_config(folder), overrides or {})
    network = filled(config, folder / WEIGHTS)
    return Prior(network, config, source=str(folder), file_hash=hashes[WEIGHTS])


def read_config(folder: Path) -> PriorConfig:
    """config.json, every field checked. Raises UserError for an unknown field or a newer format."""
    path = folder / CONFIG
    values = read_json(path)
    values.pop("library", None)
    version = values.get("format", FORMAT)
    newer = isinstance(version, int) and version > FORMAT
    need(not newer, f"{path} has format {version}, this version reads up to {FORMAT}: upgrade headwater")
    return build(PriorConfig, values, str(path))


def is_ours(folder: Path) -> bool:
    """Whether config.json says that this is a prior of ours."""
    return (folder / CONFIG).is_file() and read_json(folder / CONFIG).get("library") == MARK


def filled(config: PriorConfig, weights: Path, prefix: str = "") -> nn.Module:
    """The network of a config with weights from a file, float32, in evaluation mode.

    Names and shapes are compared before anything of the network's size is allocated. `prefix` is what the
    network's names have before the file's.
    """
    entries = {prefix + k: e for k, e in contents(weights).entries.items()}
    network = blueprint(config.build_network, entries, lambda wrong: _MISFIT.format(weights, wrong))
    return fill(network, {prefix + k: v for k, v in load_state(weights).items()})


def _stored(name: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if dtype is None or not tensor.is_floating_point():
        return tensor
    stored = tensor.to(dtype)
    if not bool(stored.isfinite().all()):
        raise UserError(f"{name} does not fit {dtype}: save in torch.float32 or torch.bfloat16")
    return stored
