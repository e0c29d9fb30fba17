"""Purification of Gaussian data by DDIM has a closed form, as every step is linear; and what is refused.

For data N(m, v) per pixel the exact x0(x_t) - m is a v / (a^2 v + s^2) (x_t - a m), so that each step keeps
the state Gaussian with a mean and a variance that follow by hand.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from closed_form import F64, Exact, Sum, prior_of
from contract.specimens import exact_prior
from headwater.core import Diffusion, network_calls, schedule
from headwater.errors import UserError
from headwater.methods.robustness.blau_purification.method import BlauPurification
from headwater.methods.robustness.shared.purifies import Purified

MEAN, VAR = 0.1, 0.01
"""So narrow that no pixel comes near the limits, where what comes out is cut."""
Q = Diffusion.vp(schedule.betas("linear", 1000))
PRIOR = prior_of(Exact(Q, MEAN, math.sqrt(VAR)))


def truth(method: BlauPurification) -> tuple[float, float, float]:
    """Slope of a pixel's deviation from the mean, its variance, and the limit of both for many steps."""
    plan = method.plan(1000)
    a, s = Q.scales(plan[1])
    slope, variance = float(a), float(s) ** 2
    for t, u in pairwise(plan[1:]):
        (a, s), (a_next, s_next) = Q.scales(t), Q.scales(u)
        keep = a * VAR / (a * a * VAR + s * s)
        c = method.eta * s_next / s * math.sqrt(1 - (a / a_next) ** 2)
        factor = a_next * keep + math.sqrt(s_next**2 - c**2) * (1 - a * keep) / s
        slope, variance = slope * factor, variance * factor**2 + c**2
    a, s = Q.scales(plan[1])
    return slope, variance, a * math.sqrt(VAR / (a * a * VAR + s * s))


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize(("level", "steps"), [(141, 15), (300, 4), (40, 1)])
def test_mean_spread_and_gradient(level: int, steps: int, eta: float) -> None:
    method = BlauPurification(level, steps, eta)
    assert network_calls(method.plan(1000)) == steps
    x = torch.full((8, 1, 16, 16), MEAN + 0.2, dtype=F64).requires_grad_()
    out = method.purify(PRIOR, x, PRIOR.noise.stream(range(8)))
    slope, variance, _ = truth(method)
    found = out.detach() - MEAN
    assert float(found.mean()) == pytest.approx(0.2 * slope, abs=4 * math.sqrt(variance / 2048) + 1e-9)
    assert float(found.std()) == pytest.approx(math.sqrt(variance), rel=4 / math.sqrt(4096))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert float((gradient - slope).abs().max()) < 1e-9
    unit = ((x.detach() + 1) / 2).requires_grad_()
    (gradient,) = torch.autograd.grad(Purified(Sum(), PRIOR, method)(unit)[:, 0].sum(), unit)
    assert float((gradient - slope).abs().max()) < 1e-9


def test_more_steps_come_nearer_to_the_flow() -> None:
    gaps = [abs(slope - flow) for slope, _, flow in (truth(BlauPurification(141, n)) for n in (2, 15, 141))]
    assert gaps[0] > gaps[1] > gaps[2]


def test_what_comes_out_is_cut_to_the_range_of_pictures() -> None:
    prior, x = exact_prior((1, 6, 6)), torch.ones(2, 1, 6, 6)
    assert float(BlauPurification(900, 2).apply(prior, x, progress=False).abs().max()) <= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": 1001}, "1000 levels"),
        ({"level": 0}, "1000 levels"),
        ({"steps": 142}, "level is 141"),
        ({"steps": 0}, "level is 141"),
        ({"eta": 1.5}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        BlauPurification(**changes).apply(exact_prior((1, 6, 6)), torch.zeros(1, 1, 6, 6))
