"""Purification of Gaussian data has a closed form: mean, variance and gradient, for SDE and ODE.

Data N(m, v) per pixel. Noised to (alpha, sigma), the reverse SDE draws from p(x_0 | x_t), the ODE moves each
quantile onto itself:

    SDE   mean (a^2 v x + s^2 m) / c    variance (a v / c)^2 s^2 + s^2 v / c    slope a^2 v / c      c = a^2 v + s^2
    ODE   mean m + a (x - m) r          variance s^2 r^2                        slope a r            r^2 = v / c
"""  # noqa: E501

from __future__ import annotations

import math

import pytest
import torch

from closed_form import Exact, Sum, prior_of
from headwater.core import Diffusion, schedule
from headwater.errors import UserError
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.methods.robustness.shared.purifies import Purified

MEAN, VAR = 0.3, 0.25
Q = Diffusion.vp(schedule.betas("linear", 1000))
PRIOR = prior_of(Exact(Q, MEAN, math.sqrt(VAR)))


def truth(kind: str, level: int, x: float) -> tuple[float, float, float]:
    """Mean, standard deviation and slope for a pixel of value x."""
    a, s = Q.scales(level)
    assert isinstance(a, float)
    assert isinstance(s, float)
    c = a * a * VAR + s * s
    if kind == "ode":
        r = math.sqrt(VAR / c)
        return MEAN + a * (x - MEAN) * r, s * r, a * r
    slope = a * a * VAR / c
    return slope * x + s * s * MEAN / c, math.sqrt((a * VAR / c) ** 2 * s * s + s * s * VAR / c), slope


@pytest.mark.parametrize("kind", ["sde", "ode", "ddpm"])
@pytest.mark.parametrize("level", [100, 300])
def test_mean_and_spread(kind: str, level: int) -> None:
    x = torch.full((8, 1, 16, 16), 0.8, dtype=torch.float64)
    method = DiffPure(level, level, kind)  # type: ignore[arg-type]
    with torch.no_grad():
        out = method.purify(PRIOR, x, PRIOR.noise.stream(range(8)))
    mean, std, _ = truth(kind, level, 0.8)
    n = out.numel()
    assert float(out.mean()) == pytest.approx(mean, abs=3.5 * std / math.sqrt(n) + 0.003)
    assert float(out.std()) == pytest.approx(std, rel=3.5 / math.sqrt(2 * n) + 0.01)


@pytest.mark.parametrize("kind", ["sde", "ode"])
@pytest.mark.parametrize("level", [100, 300])
def test_the_gradient_through_the_defence(kind: str, level: int) -> None:
    defended = Purified(Sum(), PRIOR, DiffPure(level, level, kind))  # type: ignore[arg-type]
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(defended(x)[:, 0].sum(), x)
    slope = truth(kind, level, 0.0)[2]
    # Linear, so the same for every pixel and every draw.
    assert float(gradient.std()) < 1e-12
    assert float(gradient.mean()) == pytest.approx(slope, rel=0.01)


def test_a_clean_last_step_leaves_no_noise_of_its_own() -> None:
    # Data of one single picture: whatever varies in the answers was added by the last step.
    prior = prior_of(Exact(Q, MEAN, 1e-4))
    x = torch.full((8, 1, 16, 16), 0.8, dtype=torch.float64)
    noisy, clean = (
        float(DiffPure(100, 20, last=last).apply(prior, x, seed=0, progress=False).std())
        for last in ("noisy", "clean")
    )
    assert clean < 0.002 < 0.02 < noisy
    with pytest.raises(UserError, match="choose noisy or clean"):
        DiffPure(last="none").apply(prior, x, seed=0, progress=False)  # type: ignore[arg-type]
