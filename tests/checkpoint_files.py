"""Checkpoints of a diffusers U-Net, spoilt and laid out anew in tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from headwater.models import Prior

STEM = "diffusion_pytorch_model"
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
ASSUMED = "a linear noise schedule of 1,000 steps and noise (eps) as its answer are assumed"
TRAINED = {
    "_class_name": "DDPMScheduler",
    "beta_schedule": "squaredcos_cap_v2",
    "num_train_timesteps": 20,
    "prediction_type": "v_prediction",
}


def answer(network: torch.nn.Module) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        out = network(torch.randn(2, 1, 8, 8), torch.tensor([3, 19]))
    return getattr(out, "sample", out)


def same(where: Path, wanted: Path, atol: float = 0) -> bool:
    """Whether both priors answer alike."""
    mine, theirs = (answer(Prior.from_pretrained(place).network) for place in (where, wanted))
    return bool((mine - theirs).abs().max() <= atol)


def rewrite(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def only(unet: Path, **files: dict[str, Tensor]) -> None:
    """Let a folder hold these weights alone; `_` stands for a dot."""
    for path in unet.glob(f"{STEM}*"):
        path.unlink()
    for name, tensors in files.items():
        path = unet / f"{STEM}.{name.replace('_', '.').replace('non.ema', 'non_ema')}"
        (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)


def shard(unet: Path, ext: str = "safetensors", variant: str = "") -> Path:
    """Put the weights of a folder into two files, as diffusers names them; returns their index."""
    state = load_file(unet / f"{STEM}.safetensors")
    only(unet)
    dotted, places = f".{variant}" * bool(variant), {}
    for number, half in enumerate((sorted(state)[::2], sorted(state)[1::2]), 1):
        path = unet / f"{STEM}{dotted}-0000{number}-of-00002.{ext}"
        (save_file if ext == "safetensors" else torch.save)({k: state[k] for k in half}, path)
        places |= dict.fromkeys(half, path.name)
    index = unet / f"{STEM}.{ext}.index{dotted}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index
