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


class Precise:
    """A file whose networks ran in both precisions: inputs in one of them, and outputs in the same.

    Outputs lie below `out/` in float32 and below `out64/` in float64.
    """

    def __init__(self, golden: Golden, dtype: torch.dtype) -> None:
        self.golden, self.config, self.dtype = golden, golden.config, dtype
        self.out, self.tolerance = ("out", 1e-5) if dtype == torch.float32 else ("out64", 1e-9)

    def __getitem__(self, name: str) -> torch.Tensor:
        value = self.golden[name]
        return value.to(self.dtype) if value.is_floating_point() else value

    def stored(self, output: str) -> torch.Tensor:
        """An output of the reference."""
        return self.golden[f"{self.out}/{output}"]

    def close(self, found: torch.Tensor, output: str | torch.Tensor, tolerance: float | None = None) -> None:
        """Compare with an output, by its name or itself, within the precision's tolerance or another one; it
        is relative to the largest value where that is above 1."""
        tolerance = self.tolerance if tolerance is None else tolerance
        close(found, self.stored(output) if isinstance(output, str) else output, tolerance, share=tolerance)
