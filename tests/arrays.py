"""Arrays that reference implementations made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwater.nets.adm import UNet, UNetConfig

GOLDEN = Path(__file__).parent / "parity" / "golden"


class Golden:
    """One .npz made by a reference implementation: `config` and arrays by their slash-separated names."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.config: dict[str, Any] = json.loads(str(self.arrays.pop("config", "{}")))

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(self.arrays[name]))

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """All arrays below `prefix/`, in order of name, keyed by the rest of their names."""
        names = sorted(n for n in self.arrays if n.startswith(prefix + "/"))
        return {n[len(prefix) + 1 :]: self[n] for n in names}

    def unet(self, weights: str = "w") -> UNet:
        """guided diffusion's network of `config["net"]`, with the weights below that prefix."""
        network = UNet(UNetConfig(**{k: v for k, v in self.config["net"].items() if k != "image_size"}))
        network.load_state_dict(self.under(weights), strict=True)
        return network.eval()


def close(
    found: torch.Tensor, stored: torch.Tensor, atol: float = 0.0, rtol: float = 0.0, share: float = 0.0
) -> None:
    """Compare in the stored precision: within `atol`, `rtol` of each value or `share` of the largest one."""
    atol = max(atol, share * float(stored.abs().max())) if share else atol
    torch.testing.assert_close(found.detach().to(stored.dtype), stored, atol=atol, rtol=rtol)
