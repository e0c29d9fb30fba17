"""Order of convergence of the deterministic solvers where the probability-flow ODE has a closed form.

Data N(0.3, 0.5^2). The tables are even in log SNR from -2 to 3, so that halving the step halves every step;
the walk stops at level 1, because the step into clean data is of first order by design.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from closed_form import F64, Exact
from headwater.core import DDIM, Diffusion, DPMSolver, FlowODE, Heun, Sampler, last, reverse

MEAN, STD = 0.3, 0.5


def even_in_log_snr(path: str, n: int) -> Diffusion:
    lam = torch.linspace(3, -2, n + 1, dtype=F64)
    if path == "vp":
        alpha, sigma = (2 * lam).sigmoid().sqrt(), (-2 * lam).sigmoid().sqrt()
    elif path == "ve":
        alpha, sigma = torch.ones_like(lam), (-lam).exp()
    else:
        alpha, sigma = lam.sigmoid(), (-lam).sigmoid()
    one, zero = torch.ones(1, dtype=F64), torch.zeros(1, dtype=F64)
    return Diffusion(torch.cat([one, alpha]), torch.cat([zero, sigma]), torch.cat([zero, lam]))


def spread(q: Diffusion, t: int) -> float:
    """Standard deviation of x_t."""
    a, b = float(q.alpha[t]), float(q.sigma[t])
    return math.sqrt(a * a * STD * STD + b * b)


def error(path: str, sampler: Sampler, n: int) -> float:
    """Largest distance from the exact end point, over starts within four standard deviations."""
    q = even_in_log_snr(path, n)
    top, low = n + 1, 1
    z = torch.linspace(-4, 4, 9, dtype=F64)[None]

    def at(t: int) -> Tensor:
        return q.alpha[t] * MEAN + z * spread(q, t)

    end = last(reverse(Exact(q, MEAN, STD), at(top), list(range(top, 0, -1)), sampler))
    return float((end - at(low)).abs().max())


@pytest.mark.parametrize("path", ["vp", "ve", "flow"])
@pytest.mark.parametrize(
    ("sampler", "order"),
    [(DDIM(), 1), (DPMSolver(order=1), 1), (DPMSolver(), 2), (Heun(), 2), (FlowODE(), 2)],
    ids=str,
)
def test_order(path: str, sampler: Sampler, order: int) -> None:
    errors = [error(path, sampler, n) for n in (40, 80, 160)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)
    assert errors[-1] < (0.03 if order == 1 else 0.002)
