"""Operators with a singular value decomposition: orthogonality, and the dense matrix in small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import close
from closed_form import F64
from headwater.operators import (
    BlockAverage,
    Circular,
    Grey,
    Masked,
    Separable,
    Spectral,
    WalshHadamard,
    inner,
    least_squares,
    resizing,
)  # fmt: skip


def field(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


KERNEL = torch.tensor([0.1, 0.25, 0.4, 0.15, 0.1], dtype=F64)  # not symmetric: a flipped one would show
MOTION = torch.tensor([[0.0, 0.0, 0.5], [0.1, 0.3, 0.0], [0.0, 0.1, 0.0]], dtype=F64)
OPERATORS: dict[str, Callable[[], Spectral]] = {
    "mask": lambda: Masked(field(1, 1, 8, 8, seed=1) > 0),
    "block average": lambda: BlockAverage(4),
    "grey": Grey,
    "compressed sensing": lambda: WalshHadamard.random(0.3, (8, 8), seed=2),
    "bicubic": lambda: Separable.bicubic(2, (8, 8)),
    "blur": lambda: Separable.blur(KERNEL, (8, 8)),
    "weak blur left out": lambda: Separable.blur(KERNEL, (8, 8), 0.2),
    "motion blur": lambda: Circular(MOTION, (8, 8)),
}
X = field(2, 3, 8, 8)


@pytest.fixture(params=OPERATORS)
def a(request: pytest.FixtureRequest) -> Spectral:
    return OPERATORS[request.param]()


def test_the_coefficients_are_a_rotation(a: Spectral) -> None:
    c, other = a.coefficients(X), a.coefficients(field(2, 3, 8, 8, seed=3))
    assert c[0].numel() == X[0].numel()
    close(a.image(c), X, 1e-12)
    close(inner(c, other), inner(X, a.image(other)), 1e-10)
    assert torch.broadcast_shapes(a.singular.shape, c.shape) == c.shape
    assert not a.singular.is_complex()
    assert bool((a.singular >= 0).all())


def test_the_adjoint_and_the_pseudo_inverse(a: Spectral) -> None:
    y = a.forward(X)
    z = field(*y.shape, seed=4)
    close(inner(y, z), inner(X, a.adjoint(z)), 1e-10, 1e-10)
    close(a.forward(a.pseudo_inverse(y)), y, 1e-9)
    close(a.pseudo_inverse(z), least_squares(a, z, 500), 1e-5)
    # What a measurement says goes back to where it came from.
    measured = a.singular * a.coefficients(X)
    close(a.measurement(a.measured(y)), y, 1e-9)
    close(torch.view_as_real(a.measured(y) + 0j), torch.view_as_real(measured + 0j), 1e-9)


def test_singular_values_are_those_of_the_matrix(a: Spectral) -> None:
    eye = torch.eye(192, dtype=F64).reshape(192, 3, 8, 8)
    matrix = a.forward(eye).flatten(1)
    found = torch.linalg.svdvals(matrix)
    ours = a.singular.double().expand(a.coefficients(X[:1]).shape).flatten().sort(descending=True).values
    close(ours[: len(found)], found, 1e-9)


def test_they_measure_what_they_say() -> None:
    close(BlockAverage(4).forward(X), F.avg_pool2d(X, 4), 1e-12)
    weights = torch.tensor(Grey().weights, dtype=F64).view(3, 1, 1)
    close(Grey().forward(X), (weights * X).sum(1, keepdim=True), 1e-12)
    weight = torch.outer(KERNEL, KERNEL).expand(3, 1, 5, 5)
    close(Separable.blur(KERNEL, (8, 8)).forward(X), F.conv2d(X, weight, padding=2, groups=3), 1e-12)
    wrapped = F.pad(X, (1, 1, 1, 1), mode="circular")
    close(
        Circular(MOTION, (8, 8)).forward(X),
        F.conv2d(wrapped, MOTION.flip(0, 1).expand(3, 1, 3, 3), groups=3),
        1e-12,
    )
    known = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    known[..., 3:] = True
    close(Masked(known).forward(X), X * known)


def test_bicubic_keeps_constants_and_lines_and_is_antialiased() -> None:
    close(resizing(12, 3) @ torch.ones(12, dtype=F64), torch.ones(3, dtype=F64), 1e-12)
    line = torch.arange(24, dtype=F64)
    close((resizing(24, 12) @ line)[3:-3], (line[::2] + 0.5)[3:-3], 1e-12)
    comb = torch.tensor([1.0, -1.0] * 16, dtype=F64)
    assert float((resizing(32, 8) @ comb)[2:-2].abs().max()) < 1e-12  # mirrored, the edges are no comb
