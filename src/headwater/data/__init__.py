"""Reading pictures, texts, tables and arrays with limits, and the sets of the gallery."""

from .datasets import Dataset, Skipped, conform, open_dataset
from .kspace import open_kspace, open_magnitude
from .nifti import read_volume
from .pictures import Limits, UnreadableError, list_pictures, read_picture
from .rows import Pairs
from .saving import save_labels, save_mask, save_picture
from .series import Table, read_table, write_table
from .shipped import Set, load
from .texts import open_texts
from .volumes import Volume

__all__ = [
    "Dataset",
    "Limits",
    "Pairs",
    "Set",
    "Skipped",
    "Table",
    "UnreadableError",
    "Volume",
    "conform",
    "list_pictures",
    "load",
    "open_dataset",
    "open_kspace",
    "open_magnitude",
    "open_texts",
    "read_picture",
    "read_table",
    "read_volume",
    "save_labels",
    "save_mask",
    "save_picture",
    "write_table",
]
