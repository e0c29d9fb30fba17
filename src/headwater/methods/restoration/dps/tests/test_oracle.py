"""DPS with a Gaussian prior, whose estimate and its gradient are known."""

from __future__ import annotations

import pytest
import torch

from arrays import close
from closed_form import F64, Exact
from contract.specimens import exact_prior
from headwater.core import Ancestral, Diffusion, schedule
from headwater.methods.restoration.dps.method import DPS, Guide
from headwater.metrics.image import mse
from headwater.operators import BlockAverage, Overexposed

Q = Diffusion.vp(schedule.betas("linear", 1000))


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
@pytest.mark.parametrize("t", [1, 300, 1000])
def test_the_shift_is_the_gradient_of_each_pictures_norm(likelihood: str, t: int) -> None:
    """x0 = keep x + ..., so the gradient of |r| / |y|^p is -keep A^T (r / |y|^2p) / |r / |y|^p|."""
    a, std, generator = BlockAverage(2), 0.5, torch.Generator().manual_seed(t)
    x, y = torch.randn(3, 1, 4, 4, generator=generator, dtype=F64), torch.randn(3, 1, 2, 2, dtype=F64)
    x.requires_grad_()
    pred = Exact(Q, 0.0, std)(x, t)
    dist, _ = Ancestral().step(Q, pred, t - 1)
    moved = Guide(a, y, 0.7, likelihood).transition(dist, pred, t - 1)  # pyright: ignore[reportArgumentType]
    alpha, sigma = Q.scales(t)
    keep = alpha * std**2 / ((alpha * std) ** 2 + sigma**2)
    weight = 1 / y.abs() if likelihood == "poisson" else torch.ones_like(y)
    residual = (y - a.forward(pred.x0)) * weight
    norm = residual.flatten(1).norm(dim=1).view(3, 1, 1, 1)
    close((moved.mean - dist.mean).detach(), 0.7 * keep * a.adjoint(residual * weight) / norm, 1e-10)


def test_no_weight_is_the_prior_and_some_weight_comes_nearer() -> None:
    prior, image = exact_prior((1, 8, 8)), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for by, a in (("block-average 2", BlockAverage(2)), ("overexposed 3", Overexposed(3.0))):
        y = a.forward(image)
        free, tied = (DPS(by, scale=s, steps=50).apply(prior, y, progress=False) for s in (0.0, 0.3))
        assert torch.equal(free, DPS("nothing", scale=0, steps=50).apply(prior, image, progress=False))
        assert bool((mse(a.forward(tied), y) < 0.5 * mse(a.forward(free), y)).all())


def test_what_lies_in_a_hole_does_not_matter() -> None:
    prior, image = exact_prior((1, 8, 8)), torch.rand(2, 1, 8, 8)
    known = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(3)) < 0.5
    one, other = (
        DPS("mask", steps=5).apply(prior, image.where(known, torch.tensor(v)), known, progress=False)
        for v in (0.0, 0.7)
    )
    assert torch.equal(one, other)
    large, mask = image.repeat(1, 1, 2, 2), known.repeat(1, 1, 2, 2)
    scores = DPS("mask").evaluate(large, large, large * mask, mask)
    assert scores["residual"] == 0
