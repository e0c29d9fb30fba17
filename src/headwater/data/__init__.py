"""Reading pictures and arrays with limits, and the sets that ship with the package."""

from .datasets import Dataset, Skipped, conform, open_dataset
from .pictures import Limits, UnreadableError, list_pictures, read_picture
from .saving import save_labels, save_mask, save_picture
from .shipped import Set, load

__all__ = [
    "Dataset",
    "Limits",
    "Set",
    "Skipped",
    "UnreadableError",
    "conform",
    "list_pictures",
    "load",
    "open_dataset",
    "read_picture",
    "save_labels",
    "save_mask",
    "save_picture",
]
