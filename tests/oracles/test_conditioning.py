"""RePaint on a correlated Gaussian, and the two reverse mixtures of D3PM with a perfect network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import F64
from headwater.core import (
    Ancestral,
    Control,
    Diffusion,
    NoiseSource,
    Prediction,
    descend,
    jumps,
    last,
    reverse,
    through,
)
from headwater.core.schedule import betas
from headwater.core.transition import Level
from headwater.discrete import Discrete, uniform
from headwater.discrete.process import discretised_gaussian
from headwater.noise import White

CORRELATION, GIVEN = 0.9, 1.5


class Correlated:
    """The exact denoiser of pairs with unit variances and the given correlation."""

    def __init__(self, process: Diffusion) -> None:
        self.process = process
        self.values, self.axes = torch.linalg.eigh(
            torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]], dtype=F64)
        )

    def __call__(self, x: Tensor, t: Level, previous: Any = None, **cond: Any) -> Prediction:
        a, b = self.process.scales(t)
        gain = a * self.values / (a * a * self.values + b * b)
        return Prediction(x, t, ((x @ self.axes) * gain) @ self.axes.T, torch.zeros(len(x)), a, b)


class Given(Control):
    """Before each call the first of the pair is put back, noised to the level of that call."""

    def __init__(self, process: Diffusion, noise: NoiseSource) -> None:
        self.process, self.noise = process, noise

    def before(self, x: Tensor, t: int) -> Tensor:
        given = self.process.sample(torch.full_like(x, GIVEN), t, self.noise)
        return torch.stack([given[:, 0], x[:, 1]], 1)


def filled(times: int, q: Diffusion, noise: NoiseSource, n: int = 1) -> Tensor:
    """The second of the pair after a walk of 250 even steps with jumps of 10, (n,)."""
    walk = through(jumps(250, (10, times)), descend(q.T, 250))
    start = noise(torch.zeros(n, 2, dtype=F64), q.T)
    return last(reverse(Correlated(q), start, walk, Ancestral(), [Given(q, noise)], noise))[:, 1]


def silent(like: Tensor, level: Level = 0) -> Tensor:
    return torch.zeros_like(like)


@pytest.mark.parametrize(("times", "published", "mean"), [(1, 0.938, 0.9331), (10, 1.314, 1.3119)])
def test_repaint_reaches_the_conditional_mean_only_by_resampling(
    times: int, published: float, mean: float
) -> None:
    # The paper's 250 steps of 1,000 linear betas with jumps of 10; the truth is 0.9 * 1.5 = 1.35. Every step
    # is linear, so a walk without noise is the mean over walks with noise. `published` was measured on noisy
    # walks and agrees to their sampling error.
    reached = float(filled(times, Diffusion.vp(betas("linear", 1000)), silent))
    assert reached == pytest.approx(mean, abs=1e-4)
    assert reached == pytest.approx(published, abs=0.006)
    assert reached < CORRELATION * GIVEN


def test_the_silent_walk_is_the_mean_of_noisy_ones() -> None:
    q, n = Diffusion.vp(betas("linear", 1000)), 2000
    ends = filled(1, q, White().stream(range(n)), n)
    standard_error = float(ends.std()) / n**0.5
    assert abs(float(ends.mean()) - float(filled(1, q, silent))) < 3 * standard_error


def generated(q: Discrete, data: Tensor) -> Tensor:
    """The exact distribution that the reverse chain ends in when the network is Bayes' own, (K,)."""
    x = torch.arange(q.K)[None]
    p = torch.full((q.K,), 1 / q.K, dtype=F64)
    for t in range(q.T, 0, -1):
        joint = q.column(x, 0, t)[0] * data  # rows x_t, columns x_0
        perfect = (joint / joint.sum(-1, keepdim=True)).log()
        p = p @ q.posterior(x, perfect[None], t, t - 1).probs[0]
    return p


@pytest.mark.parametrize("chain", ["uniform", "gaussian"])
def test_only_the_exact_mixture_inverts_the_chain(chain: str) -> None:
    # Eight categories, two of them common. The published form of the reverse step has a bias that more steps
    # do not cure; Bayes' form has only that of starting from the stationary law instead of q(x_T).
    data = torch.full((8,), 0.02, dtype=F64)
    data[1], data[6] = 1.0, 0.6
    data /= data.sum()
    distance = {}
    for mixture in ("paper", "exact"):
        if chain == "uniform":
            q = uniform(8, betas("cosine", 20), mixture)
        else:
            q = discretised_gaussian(8, betas("linear", 20, start=1e-3, end=0.5), mixture)
        distance[mixture] = float((generated(q, data) - data).abs().sum() / 2)
    assert 0.1 < distance["paper"] < 0.3
    assert distance["exact"] < 0.0055
