"""`python -m headwater.bench.peak_memory JOB` prints the MB that one way to compute something takes.

Started by `weighing.peak`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from headwater.bench.change_features import ChangeFeatures
from headwater.bench.few_labels import FewLabels
from headwater.bench.pixel_features import PixelFeatures
from headwater.bench.purifier_gradient import PurifierGradient
from headwater.bench.weighing import Weighed

WEIGHED: Mapping[str, Any] = {
    kind.__name__: kind for kind in (PixelFeatures, PurifierGradient, FewLabels, ChangeFeatures)
}


def peak_bytes() -> int:
    """Highest resident memory of this process so far.

    Linux counts the parent's record into a child's `ru_maxrss`, so that the kernel's own line is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def main(job: str) -> float:
    """MB of 10^6 bytes that one run adds to interpreter, libraries, networks and classifiers."""
    name, fields, way, threads = json.loads(job)
    torch.set_num_threads(threads)
    task: Weighed = WEIGHED[name](**fields)
    task.small().work(way)()  # loads the kernels
    work = task.work(way)
    before = peak_bytes()
    work()
    return (peak_bytes() - before) / 1e6


if __name__ == "__main__":
    print(main(sys.argv[1]))
