"""GDMP on Gaussian data, where the guided chain is linear and follows by hand; and what is refused.

For data N(m, v) the exact estimate is linear in x_t. With z_t the guide's noise and u the step's:

    x_s = P x_t + p + K (alpha_t x + sigma_t z_t - x_t) + std u        K = 2 std^2 c_t, P x_t + p the posterior mean
"""  # noqa: E501

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from closed_form import F64, Exact, prior_of
from contract.specimens import exact_prior
from headwater.core import Ancestral, Diffusion, network_calls, schedule
from headwater.errors import UserError
from headwater.methods.robustness.gdmp.method import GDMP, ssim_gradient
from headwater.models import Prior

MEAN, VAR = 0.1, 0.01
"""So narrow that no pixel comes near the limits, where what comes out is cut."""
Q = Diffusion.vp(schedule.betas("linear", 1000))
PRIOR = prior_of(Exact(Q, MEAN, math.sqrt(VAR)))


def truth(method: GDMP, x: float) -> tuple[float, float, float]:
    """Mean, variance and slope of a pixel of value x."""
    mean, variance, slope = x, 0.0, 1.0
    for t, s in pairwise(method.plan(1000)):
        a, b = Q.scales(t)
        if s > t:
            a_up, b_up = Q.scales(s)
            mean, variance, slope = a_up * mean, a_up**2 * variance + b_up**2, a_up * slope
            continue
        keep = a * VAR / (a * a * VAR + b * b)
        posterior = Q.posterior(
            torch.tensor([1.0, 0.0], dtype=F64), torch.tensor([0.0, 1.0], dtype=F64), t, s
        )
        on_x, on_x0 = posterior.mean.tolist()
        std = Q.between(s, t)[1] if s else 0.0
        smallest = Q.between(1, max(t, 2))[1] * Q.scales(1)[1] / Q.scales(max(t, 2))[1]
        k = 2 * (std or smallest) ** 2 * method.scale * 1.5 * 255 / method.radius * b / a
        factor = on_x + on_x0 * keep - k
        mean = factor * mean + on_x0 * (1 - a * keep) * MEAN + k * a * x
        variance = factor**2 * variance + (k * b) ** 2 + std**2
        slope = factor * slope + k * a
    return mean, variance, slope


@pytest.mark.parametrize("scale", [0.0, 0.195, 0.8])
@pytest.mark.parametrize(("level", "steps", "rounds"), [(36, 36, 2), (200, 60, 1), (100, 5, 3)])
def test_mean_spread_and_gradient(level: int, steps: int, rounds: int, scale: float) -> None:
    method = GDMP(level, steps, rounds, scale=scale)
    assert network_calls(method.plan(1000)) == steps * rounds
    x = torch.full((8, 1, 16, 16), MEAN + 0.3, dtype=F64).requires_grad_()
    out = method.purify(PRIOR, x, PRIOR.noise.stream(range(8)))
    mean, variance, slope = truth(method, MEAN + 0.3)
    found = out.detach()
    assert float(found.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / 2048))
    assert float(found.std()) == pytest.approx(math.sqrt(variance), rel=4 / math.sqrt(4096))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert float((gradient - slope).abs().max()) < 1e-9


def test_the_guide_keeps_what_noise_would_take() -> None:
    slopes = [truth(GDMP(300, 20, 1, scale=scale), MEAN)[2] for scale in (0.0, 0.1, 0.3)]
    assert slopes[0] < 0.05 < slopes[1] < slopes[2]


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 3, 12, 16)])
def test_the_gradient_of_similarity_is_that_of_autograd(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(shape, generator=generator, dtype=F64) for _ in range(2))
    at = torch.arange(11, dtype=F64) - 5
    window = torch.exp(-at.square() / 4.5)
    flat = (window[:, None] * window / window.sum() ** 2)[None, None]

    def local(image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(image.flatten(0, 1)[:, None], flat, padding=5).view(shape)

    x.requires_grad_()
    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    similarity = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    (wanted,) = torch.autograd.grad(similarity.sum(), x)
    torch.testing.assert_close(ssim_gradient(x.detach(), y), wanted, rtol=1e-9, atol=1e-9)


def test_gradients_flow_through_the_similarity_too() -> None:
    prior, x = exact_prior((1, 8, 8)), torch.rand(2, 1, 8, 8, dtype=F64).mul(0.5).requires_grad_()
    out = GDMP(6, 2, 2, "ssim").purify(prior, x, prior.noise.stream([0, 1]))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert bool(gradient.isfinite().all())
    step = 1e-5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()

    def total(sign: int) -> float:
        with torch.no_grad():
            moved = GDMP(6, 2, 2, "ssim").purify(prior, x.detach() + sign * step, prior.noise.stream([0, 1]))
        return float(moved.sum())

    assert float((gradient * step).sum()) == pytest.approx((total(1) - total(-1)) / 2, rel=1e-3)


def test_a_learned_variance_is_kept() -> None:
    prior = exact_prior((1, 8, 8))
    assert GDMP().sampler(prior) == Ancestral("large")
    learned = Prior(prior.network, replace(prior.config, variance="learned_range"))
    assert GDMP().sampler(learned) == Ancestral("learned")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": 1001}, "1000 levels"),
        ({"steps": 37}, "level is 36"),
        ({"rounds": 0}, "1 or more"),
        ({"distance": "l1"}, "mse or ssim"),
        ({"scale": -1.0}, "0 or more"),
        ({"radius": 0.0}, "positive"),
        ({"level": 600, "steps": 4}, "lower scale, or take more steps"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        GDMP(**changes).apply(exact_prior((1, 8, 8)), torch.zeros(1, 1, 8, 8))
