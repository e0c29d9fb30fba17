"""What every test shares: quiet threads and the golden arrays."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch

from arrays import GOLDEN, Golden
from headwater.core.loop import Step, reverse
from headwater.core.transition import NoiseSource
from headwater.sampling import Batch

# More threads than quiet cores make small networks many times slower, so that a worker has one, and what it
# starts has one too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

# The processes that tests start find the gallery as pytest does, in this checkout.
_GALLERY = str(Path(__file__).parent / "gallery" / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), _GALLERY)))

# A shell starts background jobs with Ctrl-C ignored, and tests that press it would wait for nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Seeds what a test draws from the global generators, by its name, so that it never fails by chance."""
    torch.manual_seed(crc32(request.node.nodeid.encode()))


@pytest.fixture
def golden() -> Callable[[str], Golden]:
    """`golden("adm/schedules")` reads tests/parity/golden/adm/schedules.npz."""
    return lambda name: Golden(GOLDEN / f"{name}.npz")


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Callable[[NoiseSource], list[Step]]:
    """`replayed(noise)` lets whatever is sampled from now on draw from `noise`, as a recorded run did, and
    returns a list that the steps of the loop are added to."""

    def install(noise: NoiseSource) -> list[Step]:
        steps: list[Step] = []

        def recording(*given: Any, **conditions: Any) -> Iterator[Step]:
            for step in reverse(*given, **conditions):
                steps.append(step)
                yield step

        monkeypatch.setattr("headwater.sampling.driver.reverse", recording)
        monkeypatch.setattr(Batch, "noise", noise)
        return steps

    return install
