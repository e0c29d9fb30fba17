"""Readers called as the command line calls them, in children of `faults.limited`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headwater.cli.kinds.scores import read_scores
from headwater.data import open_dataset
from headwater.data.kspace import open_kspace, open_magnitude
from headwater.data.label_maps import Held, read_labels
from headwater.data.masks import read_known, read_mask
from headwater.data.nifti import read_volume
from headwater.data.orientation import layout_of
from headwater.data.pictures import picture_shape, read_picture
from headwater.data.series import read_table
from headwater.data.texts import open_texts
from headwater.data.tokenizer import Tokenizer
from headwater.models.config import PriorConfig
from headwater.models.schema import build
from headwater.models.state import load_state


def picture(path: str) -> Any:
    picture_shape(path)
    layout_of(Path(path))
    read_picture(path, (3, 32, 32))


def mask(path: str) -> Any:
    layout_of(Path(path))
    read_mask(path, (32, 32))
    read_known(path, (32, 32), white="known", threshold=0.5)


def labels(path: str) -> Any:
    layout_of(Path(path))
    Held.by([Path(path)])
    read_labels(path, (32, 32))


def texts(path: str) -> Any:
    items = open_texts(path)
    _ = [items[i] for i in range(min(len(items), 3))]


def table(path: str, **said: Any) -> Any:
    read_table(path, **said)


def extended(path: str, rows: int) -> Any:
    read_table(path).extended(rows)


def kspace(path: str) -> Any:
    items = open_kspace(path)
    _ = [(items[i], items.affine(i)) for i in range(min(len(items), 2))]


def magnitude(path: str) -> Any:
    items = open_magnitude(path)
    _ = [(items[i], items.affine(i)) for i in range(min(len(items), 2))]


def volume(path: str) -> Any:
    read_volume(path)


def dataset(path: str) -> Any:
    open_dataset(path, (1, 8, 8))[0]


def weights(path: str) -> Any:
    load_state(path)


def noise(options: dict[str, Any]) -> Any:
    """A prior's law, as its config.json says it, drawn once."""
    import torch

    config = {"network": {}, "shape": [1, 64, 64], "noise": options}
    law = build(PriorConfig, config, "config.json").law()
    law.stream([1])(torch.empty(1, 1, 64, 64), 3)


def tokenizer(path: str, words: list[str]) -> Any:
    made = Tokenizer.from_json(Path(path).read_text())
    ids = made.encode(words, 16)
    made.decode(ids)


def scores(path: str) -> Any:
    read_scores(Path(path))


def spend(megabytes: int) -> Any:
    """Take so much memory."""
    held = bytearray(megabytes << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
