"""Adjoints by the dot product, pseudo-inverses by Penrose, projections by what they must leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arrays import close
from headwater.controls import Consistent
from headwater.core import Diffusion
from headwater.core.schedule import betas
from headwater.operators import (
    BlockAverage,
    Coils,
    Fourier,
    Masked,
    OfReal,
    Operator,
    Sampled,
    Turned,
    inner,
    least_squares,
)
from headwater.operators.linear import Convention

SHAPE = (2, 1, 6, 8)


def field(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def some(share: float = 0.5, seed: int = 9) -> Tensor:
    return torch.rand(1, 1, *SHAPE[2:], generator=torch.Generator().manual_seed(seed)) < share


def turn(seed: int = 5) -> Tensor:
    return torch.exp(1j * field(SHAPE, seed).real)


def every() -> dict[str, tuple[Operator, Tensor, Tensor]]:
    """Operator, an image, a measurement."""
    one, coils = field(SHAPE, 1), field((2, 3, 6, 8), 2)
    ways: tuple[Convention, ...] = ("centred", "shifted", "plain")
    found: dict[str, tuple[Operator, Tensor, Tensor]] = {}
    for way in ways:
        found[way] = Fourier(way), one, field(SHAPE, 3)
        found[f"sampled {way}"] = Sampled(Fourier(way), some()), one, field(SHAPE, 3)
        found[f"real {way}"] = OfReal(Sampled(Fourier(way), some())), one.real, field(SHAPE, 3)
    found["turned"] = Turned(Sampled(Fourier(), some()), turn()), one, field(SHAPE, 3)
    found["coils"] = Coils(Sampled(Fourier(), some()), field((2, 3, 6, 8), 4), iterations=300), one, coils
    return found


@pytest.mark.parametrize("name", list(every()))
def test_the_adjoint_passes_the_dot_product_test(name: str) -> None:
    a, x, y = every()[name]
    left, right = inner(a.forward(x), y), inner(x, a.adjoint(y))
    assert ((left - right).abs() / left.abs()).max() < 1e-10
    if not name.startswith("real"):  # the imaginary parts agree as well where images are complex
        left, right = inner(a.forward(1j * x), y), inner(1j * x, a.adjoint(y))
        assert ((left - right).abs() / left.abs()).max() < 1e-10


@pytest.mark.parametrize("name", list(every()))
def test_the_pseudo_inverse_satisfies_penrose(name: str) -> None:
    a, x, y = every()[name]
    torch.testing.assert_close(a.forward(a.pseudo_inverse(a.forward(x))), a.forward(x), rtol=1e-8, atol=1e-8)
    least = a.pseudo_inverse(y)
    torch.testing.assert_close(a.pseudo_inverse(a.forward(least)), least, rtol=1e-8, atol=1e-8)
    # What is left over is orthogonal to everything that can be measured.
    torch.testing.assert_close(a.adjoint(y - a.forward(least)), torch.zeros_like(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", list(every()))
def test_projection_fits_the_data_and_is_the_shortest_way(name: str) -> None:
    a, x, _ = every()[name]
    y = a.forward(a.adjoint(field(tuple(a.forward(x).shape), 7)))
    there = a.project(x, y)
    torch.testing.assert_close(a.forward(there), y, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(a.project(there, y), there, rtol=1e-7, atol=1e-7)
    other = a.project(torch.zeros_like(x), y)
    # The way is orthogonal to the difference of any two images that fit.
    assert inner(there - x, there - other).abs().max() < 1e-6 * inner(x, x).max()
    torch.testing.assert_close(a.project(x, y, 0.25), x + 0.25 * (there - x))
    torch.testing.assert_close(Consistent(a, y).after(x, 3, 0), there)


def test_consistency_with_noise_is_met_at_the_timestep_before_each_call_and_without_at_the_end() -> None:
    a, x, _ = every()["sampled centred"]
    q, y, z = Diffusion.vp(betas("linear", 100)), a.forward(field(SHAPE, 3)), field(SHAPE, 6)
    alpha, sigma = (float(v) for v in q.scales(40))
    full, part = (Consistent(a, y, weight, q, lambda like, t: z) for weight in (1.0, 0.25))
    there = full.before(x, 40)
    torch.testing.assert_close(a.forward(there), alpha * y + sigma * a.forward(z))
    torch.testing.assert_close(part.before(x, 40), x + 0.25 * (there - x))
    assert torch.equal(full.after(x, 3, 0), x)
    torch.testing.assert_close(a.forward(full.after(x, 0, 0)), y)
    assert torch.equal(Consistent(a, y).before(x, 4), x)


def test_conventions_put_the_origin_where_they_say() -> None:
    flat = torch.ones(1, 1, 4, 6, dtype=torch.complex128)
    for way, at, value in (("centred", (2, 3), 24**0.5), ("shifted", (2, 3), 24.0), ("plain", (0, 0), 24.0)):
        k = Fourier(way).forward(flat)[0, 0]
        assert k.abs().sum() == pytest.approx(value)
        assert k[at].real == pytest.approx(value)
    point = torch.zeros(1, 1, 4, 6, dtype=torch.complex128)
    point[..., 2, 3] = 1  # the origin of a centred image: its spectrum is flat
    torch.testing.assert_close(Fourier("centred").forward(point), torch.full_like(point, 24**-0.5))


def test_a_real_image_needs_half_of_its_spectrum() -> None:
    x = field(SHAPE, 1).real
    mask = torch.zeros(1, 1, 6, 8, dtype=torch.bool)
    mask[..., :5] = True  # the columns of non-negative frequency, that of Nyquist included
    a = OfReal(Sampled(Fourier("plain"), mask))
    torch.testing.assert_close(a.pseudo_inverse(a.forward(x)), x)
    half = Sampled(Fourier("plain"), mask).pseudo_inverse(a.forward(x)).real
    assert (half - x).abs().max() > 0.1


def test_damping_is_ridge_regression() -> None:
    a, _, y = every()["coils"]
    basis = torch.eye(48, dtype=torch.complex128).reshape(48, 1, 6, 8)
    one = Coils(a.operator, a.maps[:1])
    matrix = one.forward(basis).flatten(1).T
    wanted = torch.linalg.solve(matrix.mH @ matrix + 0.3 * torch.eye(48), matrix.mH @ y[0].flatten())
    torch.testing.assert_close(least_squares(one, y[:1], 100, 0.3).flatten(), wanted)


def test_gradients_flow_through_forward() -> None:
    a, x, y = every()["coils"]
    x = x.clone().requires_grad_()
    (a.forward(x) - y).abs().square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * a.adjoint(a.forward(x.detach()) - y))


def test_a_mask_has_rows_and_what_lies_in_its_holes_is_not_compared() -> None:
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(3, 1, 4, 4, generator=generator) < 0.5
    a, x = Masked(known), torch.randn(3, 2, 4, 4, generator=generator)
    y = a.forward(x) + 0.5
    assert torch.equal(a.for_rows(lambda x: x[1:]).forward(x[1:]), a.forward(x)[1:])
    close(a.residual(x, y), torch.full((3,), 0.5), 1e-6)
    whole = BlockAverage(2)
    assert whole.for_rows(lambda x: x[1:]) is whole
    close(whole.residual(x, whole.forward(x) - 2), torch.full((3,), 2.0), 1e-6)
