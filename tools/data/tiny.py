"""tiny: 1,797 handwritten digits of 8x8 pixels (values 0..16) for tests of a second."""

from __future__ import annotations

import gzip

import numpy as np

from .pack import Pack
from .sources import Sources


def build(sources: Sources) -> Pack:
    folder = sources.wheel("scikit-learn", "1.9.1")
    with gzip.open(folder / "sklearn/datasets/data/digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float64).astype(np.uint8)
    images, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        test[np.random.default_rng([1998, digit]).permutation(members)[: len(members) // 5]] = True
    return Pack(
        name="tiny",
        files={"tiny": {"images": images, "labels": labels, "test": test}},
        licence="BSD-3-Clause",
        sources=[{"package": "scikit-learn", "version": "1.9.1", "index": "PyPI"}],
        about={
            "content": "handwritten digits, 8x8 gray, values 0..16",
            "classes": [str(digit) for digit in range(10)],
            "splits": {"train": int((~test).sum()), "test": int(test.sum())},
            "split_by": "picture, a fifth of each class",
        },
    )
