"""DDRM with a Gaussian prior: every coefficient is Gaussian, and its mean and variance follow by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from arrays import close
from closed_form import F64, Exact
from contract.specimens import exact_prior
from headwater.core import Diffusion, last, reverse, schedule
from headwater.errors import UserError
from headwater.methods.restoration.ddrm.method import DDRM, Guide
from headwater.noise import White, seeds
from headwater.operators import BlockAverage, Circular, Grey, Masked, Separable, Spectral, WalshHadamard
from headwater.operators.named import motion, operator_of

Q = Diffusion.vp(schedule.betas("linear", 1000))
N, STD, ETA = 4000, 0.5, 0.85
OPERATORS: dict[str, Spectral] = {
    "block average": BlockAverage(2),
    "grey": Grey(),
    "mask": Masked(torch.tensor([True, False] * 8).view(1, 1, 4, 4)),
    "sensing": WalshHadamard.random(0.4, (4, 4)),
    "bicubic": Separable.bicubic(2, (4, 4)),
    "motion": Circular(motion(3, 30), (4, 4)),
}


def by_hand(s: float, ybar: complex, noise: float, plan: list[int]) -> tuple[complex, float]:
    """Mean and variance at the end of a coefficient with the singular value s, in the prior N(0, STD^2)."""
    spread = noise / s if s > 0 else math.inf
    sigmas = [Q.scales(t)[1] / Q.scales(t)[0] for t in plan]
    mean = ybar if spread < sigmas[0] else 0.0
    variance = sigmas[0] ** 2 - (spread**2 if spread < sigmas[0] else 0.0)
    for now, sigma in pairwise(sigmas):
        keep = STD**2 / (STD**2 + now**2)  # x_0 = keep x, eps = (1 - keep) x / now
        on_x, on_y, added = 0.0, 0.0, (ETA * sigma) ** 2
        if spread <= sigma:
            on_y, added = 1.0, sigma**2 - spread**2
        elif math.isinf(spread):
            on_x = keep + math.sqrt(1 - ETA**2) * sigma * (1 - keep) / now
        else:
            pull = math.sqrt(1 - ETA**2) * sigma / spread
            on_x, on_y = keep * (1 - pull), pull
        mean, variance = on_x * mean + on_y * ybar, on_x**2 * variance + added
    return mean, variance


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("name", OPERATORS)
def test_coefficients_have_the_mean_and_the_variance_that_follow(name: str, noise: float) -> None:
    a, plan = OPERATORS[name], DDRM(steps=12).plan(1000)
    generator = torch.Generator().manual_seed(1)
    y = a.forward(STD * torch.randn(1, 3, 4, 4, generator=generator, dtype=F64))
    y = y + noise * torch.randn(y.shape, generator=generator, dtype=F64)
    guide = Guide(a, a.recovered(y), noise, ETA, 1.0, Q)
    stream = White().stream(seeds(0, n=N))
    x = guide.start(torch.empty(N, 3, 4, 4, dtype=F64), plan[0], stream)
    end = last(reverse(Exact(Q, 0.0, STD), x, plan, controls=[guide], noise=stream))
    found, ybars = a.coefficients(end).flatten(1), a.recovered(y).flatten()
    values = a.singular.expand(a.coefficients(end[:1]).shape).flatten()
    for k in range(0, len(ybars), 5):
        mean, variance = by_hand(float(values[k]), complex(ybars[k]), noise, plan)
        centre = found[:, k].mean()
        assert abs(complex(centre) - mean) < 5 * math.sqrt(variance / N) + 1e-6
        spread = (found[:, k] - centre).abs().square().mean()
        assert float(spread) == pytest.approx(variance, rel=0.15, abs=1e-9)


@pytest.mark.parametrize("by", ["block-average 4", "bicubic 2", "gaussian-blur 0.5", "mask"])
def test_without_noise_what_was_measured_is_met_to_rounding(by: str) -> None:
    prior, image = exact_prior((1, 8, 8)), torch.rand(2, 1, 8, 8) * 2 - 1
    known = torch.rand(2, 1, 8, 8) < 0.5 if by == "mask" else None
    a = operator_of(by, (1, 8, 8), known)
    restored = DDRM(by, steps=3).apply(prior, a.forward(image), known, progress=False)
    close(a.forward(restored), a.forward(image), 2e-5)


def test_what_cannot_be_is_said() -> None:
    prior, small = exact_prior((1, 8, 8)), torch.zeros(2, 1, 2, 2)
    for method, known, words in (
        (DDRM("jpeg 10"), None, r"measured pictures are \(1, 2, 2\), but 'jpeg 10' makes \(1, 8, 8\)"),
        (DDRM("block-average 3"), None, "cannot be made 3 times smaller"),
        (DDRM("grey"), None, "grey already"),
        (DDRM("gray"), None, "there is no measurement 'gray'"),
        (DDRM("mask"), None, "give known"),
        (DDRM("block-average 4", steps=1001), None, "give a number from 1 to 1000"),
        (DDRM("block-average 4", eta=1.5), None, "shares from 0 to 1"),
        (DDRM("block-average 4", noise=-1), None, "0 or more"),
        (DDRM("mask"), torch.ones(3, 1, 8, 8, dtype=torch.bool), r"give bool \(2 or 1, 1, 8, 8\)"),
    ):
        with pytest.raises(UserError, match=words):
            method.apply(prior, small, known, progress=False)
    with pytest.raises(UserError, match="take DPS"):
        DDRM("jpeg 10").apply(prior, torch.zeros(1, 1, 8, 8), progress=False)
