"""DPS with a Gaussian prior, whose estimate and its gradient are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from arrays import close
from closed_form import F64, Exact
from contract.specimens import exact_prior
from headwater.core import Ancestral, Diffusion, schedule
from headwater.errors import UserError
from headwater.methods.restoration.dps.method import DPS, Guide
from headwater.metrics.image import mse
from headwater.operators import BlockAverage, Overexposed, PhaseRetrieval

Q = Diffusion.vp(schedule.betas("linear", 1000))


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
@pytest.mark.parametrize("t", [1, 300, 1000])
def test_the_shift_is_the_gradient_of_each_pictures_norm(likelihood: str, t: int) -> None:
    """x0 = keep x + ..., so the gradient of |w r| is -keep A^T (w^2 r) / |w r|; w^2 = 1 / (2 light)."""
    a, std, generator = BlockAverage(2), 0.5, torch.Generator().manual_seed(t)
    x, y = torch.randn(3, 1, 4, 4, generator=generator, dtype=F64), torch.randn(3, 1, 2, 2, dtype=F64)
    x.requires_grad_()
    pred = Exact(Q, 0.0, std)(x, t)
    dist, _ = Ancestral().step(Q, pred, t - 1)
    moved = Guide(a, y, 0.7, likelihood).transition(dist, pred, t - 1)  # pyright: ignore[reportArgumentType]
    alpha, sigma = Q.scales(t)
    keep = alpha * std**2 / ((alpha * std) ** 2 + sigma**2)
    light = ((y + 1) / 2).clamp(min=1 / 255)
    weight = (2 * light).rsqrt() if likelihood == "poisson" else torch.ones_like(y)
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


def test_measurements_that_are_no_pictures_may_be_large_and_those_that_are_may_not() -> None:
    prior = exact_prior((1, 32, 32))
    prior = replace(prior, config=replace(prior.config, clip=True))
    image, how = torch.ones(1, 1, 32, 32), {"progress": False, "device": "cpu"}
    phases = PhaseRetrieval().forward(image)
    assert float(phases.max()) == pytest.approx(32)
    for y in (phases, phases.numpy()):
        found = DPS("phase-retrieval", scale=1.0, steps=3).apply(prior, y, **how)
        assert bool(found.isfinite().all())
    with pytest.raises(UserError, match="pictures lie in"):
        DPS("block-average 2", steps=3).apply(prior, 20 * image[..., ::2, ::2], **how)
    noisy = (image[..., ::2, ::2] + 0.3 * torch.randn(1, 1, 16, 16)).numpy()
    assert DPS("block-average 2", steps=3).apply(prior, noisy, **how).shape == image.shape
    with pytest.raises(UserError, match="measures no light"):
        DPS("phase-retrieval", likelihood="poisson", steps=3).apply(prior, phases, **how)


def test_scores_of_magnitudes_say_what_they_cannot_tell() -> None:
    truth = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(6)) * 2 - 1
    turned, y = truth.flip(-1, -2), PhaseRetrieval().forward(truth)
    scores = DPS("phase-retrieval").evaluate(turned, truth, y)
    assert scores["psnr"] < 20 < 100 < scores["psnr_aligned"]
    assert scores["residual"] < 1e-5
    assert "psnr_aligned" not in DPS("nothing").evaluate(turned, truth, truth)


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
