"""Reading pictures and arrays with limits, and the sets that ship with the package."""

from .shipped import Set, load

__all__ = ["Set", "load"]
