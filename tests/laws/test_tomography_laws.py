"""Tomography: the adjoint by the dot product, Penrose, and pictures whose projections are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from headwater.operators import Radon, inner


def field(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def disc(n: int, radius: float) -> Tensor:
    """A disc in an image (1, 1, n, n), its edge smoothed over a pixel."""
    at = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return (radius + 0.5 - (at[:, None] ** 2 + at**2).sqrt()).clamp(0, 1)[None, None]


@pytest.mark.parametrize("views", [1, 5])
def test_the_adjoint_passes_the_dot_product_test(views: int) -> None:
    a = Radon.even(views, (6, 9))
    x, y = field((3, 1, 6, 9), 0), field((3, 1, views, a.detectors), 1)
    assert a.forward(x).shape == y.shape
    left, right = inner(a.forward(x), y), inner(x, a.adjoint(y))
    assert ((left - right).abs() / left.abs()).max() < 1e-10


def test_the_pseudo_inverse_satisfies_penrose() -> None:
    a = Radon.even(3, (6, 6), iterations=300)
    x, y = field((2, 1, 6, 6), 0), field((2, 1, 3, a.detectors), 1)
    torch.testing.assert_close(a.forward(a.pseudo_inverse(a.forward(x))), a.forward(x), rtol=0, atol=1e-8)
    least = a.pseudo_inverse(y)
    assert a.adjoint(y - a.forward(least)).abs().max() < 1e-7
    assert Radon.even(3, (6, 6), damping=5.0).pseudo_inverse(y).norm() < 0.9 * least.norm()


def test_each_view_sees_all_of_the_image_and_straight_ones_its_columns_and_rows() -> None:
    x = field((2, 1, 7, 8), 0)
    a = Radon.even(4, (7, 8))
    y = a.forward(x)
    torch.testing.assert_close(y.sum(-1), x.sum((-2, -1))[..., None].expand(2, 1, 4))
    middle = a.detectors // 2
    # Eight columns lie evenly around the middle, so that each is shared by two strips.
    columns = (torch.nn.functional.pad(x.sum(-2), (1, 0)) + torch.nn.functional.pad(x.sum(-2), (0, 1))) / 2
    torch.testing.assert_close(y[:, :, 0, middle - 4 : middle + 5], columns, rtol=0, atol=1e-5)
    torch.testing.assert_close(y[:, :, 2, middle - 3 : middle + 4], x.sum(-1), rtol=0, atol=1e-5)


def test_a_disc_has_its_chords_from_every_side_and_comes_back_by_filtered_back_projection() -> None:
    n, radius = 48, 15.0
    a, x = Radon.even(90, (n, n)), disc(n, radius)
    y = a.forward(x)
    at = torch.arange(a.detectors, dtype=torch.float64) - a.detectors // 2
    chords = 2 * (radius**2 - at**2).clamp(min=0).sqrt()
    inside = at.abs() < radius - 2
    assert (y[0, 0] - chords)[:, inside].abs().max() < 0.4
    assert y[0, 0][:, at.abs() > radius + 1.5].abs().max() < 1e-9
    back = a.filtered_back_projection(y)
    assert (back - x)[x == 1].abs().mean() < 0.03
    assert (back - x)[x == 0].abs().mean() < 0.03


def test_even_angles_leave_out_the_half_turn() -> None:
    assert Radon.even(4, (8, 8)).angles.tolist() == pytest.approx(
        [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4]
    )


def test_single_precision_and_gradients() -> None:
    a, x = Radon.even(5, (6, 6)), field((2, 1, 6, 6), 0)
    torch.testing.assert_close(a.forward(x.float()).double(), a.forward(x), rtol=0, atol=1e-5)
    x.requires_grad_()
    (a.forward(x).square().sum() / 2).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, a.adjoint(a.forward(x.detach())))


def test_fewer_detectors_see_the_same_strips_and_no_others() -> None:
    whole, x = Radon.even(5, (8, 8)), field((2, 1, 8, 8), 0)
    for width in (5, 6, 31):
        narrow, cut = replace(whole, width=width), whole.detectors // 2 - width // 2
        found, wanted = narrow.forward(x), whole.forward(x)
        if cut < 0:
            found, cut = found[..., -cut : whole.detectors - cut], 0
        torch.testing.assert_close(found, wanted[..., cut : cut + width], rtol=0, atol=1e-9)
        y = field((2, 1, 5, width), 1)
        torch.testing.assert_close(inner(narrow.forward(x), y), inner(x, narrow.adjoint(y)))


def test_what_metal_hides_is_left_out_and_bridged_by_straight_lines() -> None:
    whole, x = Radon.even(3, (6, 6)), field((2, 1, 6, 6), 0)
    known = torch.ones(2, 1, 3, whole.detectors, dtype=torch.bool)
    known[0, :, :, 4:7] = False
    known[1, :, 1, :2] = known[1, :, 2] = False
    a, y = whole.knowing(known), field((2, 1, 3, whole.detectors), 1)
    assert not a.forward(x)[~known].any()
    torch.testing.assert_close(inner(a.forward(x), y), inner(x, a.adjoint(y)))
    assert torch.equal(a.for_rows(lambda rows: rows[1:]).forward(x[1:]), a.forward(x)[1:])
    filled, hidden = a.bridged(a.kept(y)), y.clone()
    steps = torch.linspace(0, 1, 5, dtype=y.dtype)
    hidden[0, :, :, 3:8] = y[0, :, :, 3:4] + steps * (y[0, :, :, 7:8] - y[0, :, :, 3:4])
    hidden[1, :, 1, :2], hidden[1, :, 2] = y[1, :, 1, 2], 0
    torch.testing.assert_close(filled, hidden)
    disc_scan = Radon.even(90, (48, 48))
    metal = torch.ones(1, 1, 90, disc_scan.detectors, dtype=torch.bool)
    metal[..., 33:36] = False
    seen = disc_scan.knowing(metal)
    truth = disc(48, 15.0)
    bridged, cut = (s.filtered_back_projection(seen.forward(truth)) - truth for s in (seen, disc_scan))
    assert bridged.abs().mean() < 0.5 * cut.abs().mean()
