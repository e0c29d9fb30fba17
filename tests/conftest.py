"""What every test shares: quiet threads and the golden arrays."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

# More threads than quiet cores make small networks many times slower.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

# A shell starts background jobs with Ctrl-C ignored, and tests that press it would wait for nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture
def golden() -> Callable[[str], Golden]:
    """`golden("adm/schedules")` reads tests/parity/golden/adm/schedules.npz."""
    return lambda name: Golden(GOLDEN / f"{name}.npz")
