"""textures: brick, grass and gravel, 512x512 gray; left halves train, right halves test."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .pack import Pack
from .sources import Sources

TEXTURES = ["brick", "grass", "gravel"]


def build(sources: Sources) -> Pack:
    folder = sources.wheel("scikit-image", "0.26.0") / "skimage/data"
    pictures = {name: np.asarray(Image.open(folder / f"{name}.png").convert("L")) for name in TEXTURES}
    return Pack(
        name="textures",
        files={"textures": pictures},
        licence="CC0-1.0",
        sources=[{"package": "scikit-image", "version": "0.26.0", "index": "PyPI"}],
        about={
            "content": "three 512x512 gray surfaces; loaders draw crops from a seed",
            "classes": TEXTURES,
            "splits": {"train": 3, "test": 3},
            "split_by": "left half and right half of each picture",
        },
    )
