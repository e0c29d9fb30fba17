"""What else decides a time: versions, threads, and how busy the machine is."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch


def surroundings() -> dict[str, str]:
    """Names and values for the head of a table; call it before measuring, which itself loads the machine."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "headwater": version("headwater"),
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
        "load average before": load,
    }


def installed(package: str) -> str:
    """The version of a package, or an empty text."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
