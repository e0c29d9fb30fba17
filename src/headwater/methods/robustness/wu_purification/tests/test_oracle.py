"""Wu et al. on Gaussian data, where the guided chain is linear and follows by hand; and what is refused.

For data N(m, v) the exact estimate is linear in x_t, and with it the mean of a step, P x_t + p. With z the
guide's noise and u the step's:

    x_s = (1 - w) (P x_t + p) + w (alpha_s x + sigma_s z) + sqrt(1 - w) std u       w = k / (1 + k)

There is no public code to compare with; beside this, one chain of a network is written out below.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from closed_form import F64, Exact, prior_of
from contract.specimens import exact_prior, network_prior
from headwater.core import Diffusion, network_calls, schedule
from headwater.errors import UserError
from headwater.methods.robustness.wu_purification.method import WuPurification

MEAN, VAR = 0.1, 0.01
"""So narrow that no pixel comes near the limits, where what comes out is cut."""
Q = Diffusion.vp(schedule.betas("linear", 1000))
PRIOR = prior_of(Exact(Q, MEAN, math.sqrt(VAR)))


def truth(method: WuPurification, x: float) -> tuple[float, float, float]:
    """Mean, variance and slope of a pixel of value x."""
    mean, variance, slope = 0.0, 1.0, 0.0
    unit = torch.tensor([1.0, 0.0], dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    for t, s in pairwise(method.plan(1000)):
        (a, b), (a_s, b_s) = Q.scales(t), Q.scales(s)
        keep = a * VAR / (a * a * VAR + b * b)
        posterior = Q.posterior(*unit, t, s)
        (on_x, on_x0), std = posterior.mean.tolist(), float(posterior.std)
        factor, shift = on_x + on_x0 * keep, on_x0 * (1 - a * keep) * MEAN
        k = 2 * method.scale * std * std
        w = k / (1 + k)
        mean = (1 - w) * (factor * mean + shift) + w * a_s * x
        variance = (1 - w) ** 2 * factor**2 * variance + (w * b_s) ** 2 + (1 - w) * std**2
        slope = (1 - w) * factor * slope + w * a_s
    return mean, variance, slope


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("steps", [12, 150])
def test_mean_spread_and_gradient(steps: int, scale: float) -> None:
    method = WuPurification(steps, scale)
    assert network_calls(method.plan(1000)) == steps
    x = torch.full((8, 1, 16, 16), MEAN + 0.3, dtype=F64).requires_grad_()
    out = method.purify(PRIOR, x, PRIOR.noise.stream(range(8)))
    mean, variance, slope = truth(method, MEAN + 0.3)
    found = out.detach()
    assert float(found.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / 2048))
    assert float(found.std()) == pytest.approx(math.sqrt(variance), rel=4 / math.sqrt(4096))
    if scale:
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert float((gradient - slope).abs().max()) < 1e-9
    else:
        assert not out.requires_grad  # the state knows of the picture by the guide alone


def test_more_weight_keeps_more_of_the_picture() -> None:
    slopes = [truth(WuPurification(100, scale), MEAN)[2] for scale in (0.0, 1.0, 30.0, 1e6)]
    assert slopes[0] == 0
    assert slopes == sorted(slopes)
    assert slopes[-1] > 0.95


def test_many_steps_are_the_paper_s_shift_of_the_mean() -> None:
    """mu + scale std^2 grad(-|x_t - y_t|^2), with the expectation of y_t: a second of its chain by hand."""
    scale, mean = 1.0, 0.0
    for t, s in pairwise(WuPurification(1000).plan(1000)):
        a, b = Q.scales(t)
        keep = a * VAR / (a * a * VAR + b * b)
        posterior = Q.posterior(torch.tensor(mean), torch.tensor(keep * mean + (1 - a * keep) * MEAN), t, s)
        mean = float(posterior.mean) + scale * float(posterior.std) ** 2 * 2 * (a * (MEAN + 0.3) - mean)
    assert truth(WuPurification(1000, scale), MEAN + 0.3)[0] == pytest.approx(mean, abs=2e-3)


@torch.no_grad()
def test_a_chain_of_a_network_by_hand() -> None:
    prior, x = network_prior((3, 8, 8)), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    method, noise = WuPurification(4, 5.0), prior.noise.stream([1, 2])
    ours = method.purify(prior, x, prior.noise.stream([1, 2]))
    state, q = noise(x, 1000), prior.process
    for t, s in pairwise(method.plan(1000)):
        x0 = prior.denoiser(state, t).x0.clamp(-1, 1)
        dist = q.posterior(state, x0, t, s)
        if s == 0:
            state = dist.mean
            break
        variance = float(dist.std) ** 2
        (a, b), precision = q.scales(s), 1 / variance + 2 * method.scale
        y = a * x + b * noise(x, s)
        mean = (dist.mean / variance + 2 * method.scale * y) / precision
        state = mean + precision**-0.5 * noise(x, s)
    torch.testing.assert_close(ours, state.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_is_said() -> None:
    prior, x = exact_prior((1, 8, 8)), torch.zeros(1, 1, 8, 8)
    with pytest.raises(UserError, match="0 or more"):
        WuPurification(4, scale=-1.0).apply(prior, x)
    with pytest.raises(UserError, match="from 1 to 1000"):
        WuPurification(steps=0).apply(prior, x)
