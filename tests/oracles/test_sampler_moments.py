"""Samples of every sampler against the moments of closed-form data, at fixed seeds.

20,000 values of data N(0.3, 0.5^2). A sampler of a finite number of steps has a bias of its own (the small
variance of `Ancestral` is that of one known x_0, so it comes out too narrow by a few tenths of a standard
error here); the step counts are such that it is below the three standard errors allowed.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from closed_form import F64, Exact, Memory
from headwater.core import (
    DDIM,
    Ancestral,
    ClassifierMean,
    ClassifierScore,
    Diffusion,
    DPMSolver,
    FlowODE,
    Heun,
    Langevin,
    PredictorCorrector,
    Sampler,
    descend,
    last,
    reverse,
)
from headwater.core.schedule import betas, geometric
from headwater.core.timesteps import log_snr
from headwater.noise import White

MEAN, STD, N = 0.3, 0.5, 20_000
VP = Diffusion.vp(betas("linear", 1000))
VE = Diffusion.ve(geometric(1000))
EDM = Diffusion.edm(40)
FLOW = Diffusion.flow(100)


def within_three_errors(x: Tensor, mean: float, std: float) -> None:
    n = x.numel()
    assert abs(float(x.mean()) - mean) < 3 * std / math.sqrt(n)
    assert abs(float(x.std()) - std) < 3 * std / math.sqrt(2 * n)


@pytest.mark.parametrize(
    ("q", "plan", "sampler"),
    [
        (VP, descend(1000), Ancestral()),
        (VP, descend(1000), Ancestral("large")),
        (VE, descend(1000), Ancestral()),
        (VE, descend(1000), Ancestral("large")),
        (VP, descend(1000), DDIM(1.0)),
        (VP, descend(1000), DDIM(0.5)),
        (VP, descend(1000), DDIM()),
        (VP, log_snr(VP, 100), DPMSolver(kind="sde")),
        (VP, descend(1000, 200), DPMSolver(kind="sde")),
        (VP, log_snr(VP, 50), DPMSolver()),
        (VP, descend(1000), PredictorCorrector(Ancestral(), Langevin(0.05))),
        (VE, descend(1000, 500), PredictorCorrector(Ancestral(), Langevin(0.05))),
        (EDM, descend(40), Heun()),
        (FLOW, descend(100), FlowODE()),
    ],
    ids=lambda value: str(value) if isinstance(value, Sampler) else None,
)
def test_moments(q: Diffusion, plan: list[int], sampler: Sampler) -> None:
    stream = White().stream([5])
    x = q.start(torch.empty(1, N, dtype=F64), stream)
    within_three_errors(last(reverse(Exact(q, MEAN, STD), x, plan, sampler, noise=stream)), MEAN, STD)


def test_a_climb_and_a_descent_leave_the_distribution_alone() -> None:
    stream = White().stream([6])
    x0 = MEAN + STD * stream(torch.empty(1, N, dtype=F64))
    end = last(reverse(Exact(VP, MEAN, STD), x0, [0, 400, *descend(400)[1:]], Ancestral(), noise=stream))
    within_three_errors(end, MEAN, STD)


def test_langevin_keeps_its_level_s_distribution() -> None:
    # The unadjusted move with step a = 2 c (snr |z| / |score|)^2 widens N(m, v) to v (1 + c snr^2).
    t, snr, n = 500, 0.16, 100_000
    c = float(VP.between(t - 1, t)[0]) ** 2
    mean = float(VP.alpha[t]) * MEAN
    v = float(VP.alpha[t]) ** 2 * STD**2 + float(VP.sigma[t]) ** 2
    stream = White().stream([7])
    x = torch.full((1, n), 3.0, dtype=F64)  # far off, and without any spread
    end = last(reverse(Exact(VP, MEAN, STD), x, [t] * 301, Langevin(snr), noise=stream))
    within_three_errors(end, mean, math.sqrt(v * (1 + c * snr**2)))


@pytest.mark.parametrize(
    "sampler", [Ancestral(), DDIM(), DPMSolver(), DPMSolver(kind="sde"), Heun()], ids=str
)
def test_the_ideal_denoiser_of_a_data_set_draws_its_members(sampler: Sampler) -> None:
    data = torch.tensor([[-1.0, 0.0], [0.5, 1.0], [1.5, -1.0], [0.0, -2.0]], dtype=F64)
    n = 2000
    stream = White().stream(range(n))
    x = VP.start(torch.empty(n, 2, dtype=F64), stream)
    end = last(reverse(Memory(VP, data), x, log_snr(VP, 60), sampler, noise=stream))
    gap, member = torch.cdist(end, data).min(1)
    assert float(gap.max()) < 1e-3
    counts = torch.bincount(member, minlength=4) / n
    assert (counts - 0.25).abs().max() < 4 * math.sqrt(0.25 * 0.75 / n)


class Reading:
    """log p(y | x_t) of y = x_0 + r noise, where x_0 ~ N(0, s^2): a classifier in closed form."""

    def __init__(self, q: Diffusion, y: float, s: float, r: float) -> None:
        self.q, self.y, self.s2, self.r2 = q, y, s * s, r * r

    def moments(self, t: int) -> tuple[float, float]:
        a, b = (float(v) for v in self.q.scales(t))
        total = a * a * self.s2 + b * b
        return a * self.s2 / total, self.s2 * b * b / total  # of x_0 given x_t: slope and variance

    def __call__(self, x: Tensor, label: Tensor) -> Tensor:
        slope, var = self.moments(int(label[0]) + 1)
        return (-(self.y - slope * x).square() / (2 * (var + self.r2))).flatten(1).sum(1)

    def truth(self) -> tuple[float, float]:
        gain = self.s2 / (self.s2 + self.r2)
        return gain * self.y, math.sqrt(gain * self.r2)


def test_guidance_of_the_score_is_the_conditional_denoiser() -> None:
    y, s, r = 0.8, 0.7, 0.4
    reading = Reading(VP, y, s, r)
    mean, std = reading.truth()
    unconditional, conditional = Exact(VP, 0.0, s), Exact(VP, mean, std)
    x = torch.linspace(-2, 2, 9, dtype=F64)[None]
    for t in (1, 50, 500, 1000):
        guided = ClassifierScore(reading).denoised(unconditional(x, t))
        torch.testing.assert_close(guided.x0, conditional(x, t).x0, rtol=0, atol=1e-12)
        torch.testing.assert_close(guided.eps, conditional(x, t).eps, rtol=0, atol=1e-10)
    stream = White().stream([8])
    start = VP.start(torch.empty(1, N, dtype=F64), stream)
    end = last(reverse(unconditional, start, log_snr(VP, 60), DPMSolver(), [ClassifierScore(reading)]))
    within_three_errors(end, mean, std)


def test_guidance_of_the_mean_reaches_the_posterior_with_many_steps_and_differs_with_few() -> None:
    y, s, r = 0.8, 0.7, 0.4
    reading = Reading(VP, y, s, r)
    exact = Exact(VP, 0.0, s)
    stream = White().stream([9])
    start = VP.start(torch.empty(1, N, dtype=F64), stream)
    # The shift is a variance times a gradient: the small variance guides too little (by 3.7 standard errors
    # here), the large one is right to first order in beta.
    end = last(reverse(exact, start, descend(1000), Ancestral("large"), [ClassifierMean(reading)], stream))
    within_three_errors(end, *reading.truth())
    x = torch.linspace(-2, 2, 9, dtype=F64)[None]
    (one,) = list(reverse(exact, x, [600, 300], DDIM(1.0), [ClassifierMean(reading)], lambda v, t: 0 * v))
    (other,) = list(reverse(exact, x, [600, 300], DDIM(1.0), [ClassifierScore(reading)], lambda v, t: 0 * v))
    assert float((one.x - other.x).abs().max()) > 0.02
