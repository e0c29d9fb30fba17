"""Tests reach what lies in tools/ as they reach a module."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

TOOLS = Path(__file__).parents[1] / "tools"


def tool(name: str) -> ModuleType:
    """The module tools/NAME.py, which finds its neighbours as it does when it is run."""
    known = f"tools.{name}"  # not NAME alone: Python has a `site` of its own
    if known not in sys.modules:
        spec = spec_from_file_location(known, TOOLS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[known] = module_from_spec(spec)
        with patch.object(sys, "path", [str(TOOLS), *sys.path]):
            spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]
