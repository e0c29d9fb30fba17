"""Measurements against the arrays of the codes of DDRM and of ILVR.

The signs of singular vectors are not unique, so what is compared is H, its adjoint and its pseudo-inverse.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import Golden, close
from headwater.operators import BlockAverage, Grey, Masked, Separable, Spectral, WalshHadamard, resizing
from headwater.operators.spectral import banded

Load = Callable[[str], Golden]


def masked(data: Golden) -> Spectral:
    """The reference numbers pixels with colour last."""
    known = torch.ones(8, 8, 3, dtype=torch.bool)
    known.view(-1)[data["in/missing"]] = False
    return Masked(known.permute(2, 0, 1)[None])


def downsampling(kernel: Tensor, n: int, ratio: int) -> Tensor:
    """The reference's strided convolution, mirrored at the edges, as a matrix."""
    reach, found = len(kernel) // 2, torch.zeros(n // ratio, n, dtype=torch.float64)
    for i in range(n // ratio):
        first = i * ratio + ratio // 2 - reach
        for k, weight in enumerate(kernel.double()):
            j = first + k
            j = -j - 1 if j < 0 else 2 * n - 1 - j if j >= n else j
            found[i, j] += weight
    return found


OPERATORS: dict[str, Callable[[Golden], Spectral]] = {
    "sr": lambda d: BlockAverage(d.config["ratio"]),
    "color": lambda d: Grey((0.3333, 0.3334, 0.3333)),
    "inpainting": masked,
    "denoising": lambda d: Masked(torch.ones(1, 1, 8, 8, dtype=torch.bool)),
    "cs": lambda d: WalshHadamard(d["in/perm"][: 64 // d.config["ratio"]], (8, 8)),
    "srconv": lambda d: Separable(*[downsampling(d["in/kernel"], 8, d.config["ratio"])] * 2),
}


@pytest.mark.parametrize("kind", OPERATORS)
def test_operators_of_ddrm(golden: Load, kind: str) -> None:
    data = golden(f"super-resolution/ddrm_{kind}")
    a, x = OPERATORS[kind](data), data["in/x"].reshape(2, 3, 8, 8)
    tolerance = 1e-4 if kind == "srconv" else 1e-5

    def seen(y: Tensor) -> Tensor:
        """As the reference orders it: some kinds keep colours last, a mask the known pixels alone."""
        if kind == "cs":
            return y.transpose(1, 2).flatten(1)
        if kind == "inpainting":
            known = masked(data).singular.permute(0, 2, 3, 1).flatten() > 0
            return y.permute(0, 2, 3, 1).flatten(1)[:, known]
        return y.flatten(1)

    y = a.forward(x)
    close(seen(y), data["out/H"], tolerance)
    close(a.adjoint(y).flatten(1), data["out/Ht_of_H"], tolerance)
    if "out/H_pinv_of_H" in data:
        close(a.pseudo_inverse(y).flatten(1), data["out/H_pinv_of_H"], tolerance)
    values = a.singular.expand(a.coefficients(x)[:1].shape).flatten()
    found = values[values > 0].sort(descending=True).values
    close(found, data["out/singulars"].sort(descending=True).values[: len(found)], tolerance)


@pytest.mark.parametrize("kind", ["deblur", "deblur2d"])
def test_blur_of_ddrm(golden: Load, kind: str) -> None:
    """Its kernels lose their last tap, weak singular values count as 0, and what is consistent lies apart."""
    data = golden(f"super-resolution/ddrm_{kind}")
    names = ("in/kernel", "in/kernel2" if kind == "deblur2d" else "in/kernel")
    rows, columns = (banded(F.pad(data[name][:-1].double(), (0, 1)), 8) for name in names)
    a, x = Separable(rows, columns, smallest=0.03), data["in/x"].reshape(2, 3, 8, 8)
    y = a.forward(x)
    close(y.flatten(1), data["out/interleaved/H"], 1e-4)
    close(a.adjoint(y).flatten(1), data["out/interleaved/Ht_of_H"], 1e-4)


def test_the_resizer(golden: Load) -> None:
    data = golden("super-resolution/ilvr_resizer")
    for i, (shape, factor, kernel) in enumerate(data.config["cases"]):
        if kernel not in (None, "cubic"):
            continue
        stored = data[f"out/{i:02d}/out"].double()
        rows, columns = (resizing(n, out, factor) for n, out in zip(shape[2:], stored.shape[2:], strict=True))
        close(rows @ data[f"in/{i:02d}"].double() @ columns.T, stored, 1e-6)
