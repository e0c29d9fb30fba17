"""Memory of one way to classify pixels: `python -m headwater.bench.peak_memory JOB` prints MB.

A process of its own, because freed memory does not lower a process's record.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from headwater.bench.pixel_features import PixelFeatures


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
    """MB of 10^6 bytes that one run adds to interpreter, libraries and classifiers."""
    way, threads, side, members, classes, width = json.loads(job)
    torch.set_num_threads(threads)
    small = PixelFeatures(16, 1, 1, classes, 1 / 32)
    work = small.ours if way == "ours" else small.naive
    work(small.ensemble(), small.maps())  # loads the kernels
    task = PixelFeatures(side, members, 1, classes, width)
    ensemble = task.ensemble()
    before = peak_bytes()
    maps = task.maps()
    (task.ours if way == "ours" else task.naive)(ensemble, maps)
    return (peak_bytes() - before) / 1e6


if __name__ == "__main__":
    print(main(sys.argv[1]))
