"""ADP on Gaussian data, where a step lands where theory says; gradients; and what is refused.

For N(m, v) in [0, 1] the field is f(x) = -sigma (x - m) / (v + sigma^2): its slope is sigma / (v + sigma^2)
along every direction, a = fraction / slope, and each step goes that fraction of the way to m. A field of
constant length, as of a network that sees how much noise there is, has no slope along itself.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import F64, Exact, Sum, prior_of
from contract.specimens import exact_prior
from headwater.core import Denoiser, Diffusion, network_calls, schedule
from headwater.errors import UserError
from headwater.methods.robustness.adp.method import ADP
from headwater.methods.robustness.shared.purifies import Purified
from headwater.models import ProcessConfig
from headwater.noise import White

MEAN, STD = 0.55, 0.05
Q = Diffusion.vp(schedule.betas("linear", 1000))
SIGMA = float(Q.sigma[60] / Q.alpha[60]) / 2
"""Of a timestep, so that what the prior is told matches what is added."""
PRIOR = prior_of(Exact(Q, 2 * MEAN - 1, 2 * STD))
SHAPE = (6, 1, 4, 4)
STREAM = White().stream


def pictures(seed: int = 0) -> Tensor:
    return MEAN + 0.1 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=F64)


def purified(method: ADP, x: Tensor) -> Tensor:
    return (method.purify(PRIOR, 2 * x - 1, STREAM(range(len(x)))) + 1) / 2


@pytest.mark.parametrize("units", ["noise", "score"])
@pytest.mark.parametrize(("fraction", "steps"), [(0.05, 10), (0.3, 4), (1.0, 1)])
def test_each_step_goes_its_fraction_of_the_way(units: Any, fraction: float, steps: int) -> None:
    method = ADP(SIGMA, steps, fraction, longest=10.0, stop=0.0, units=units)
    assert network_calls(method.timesteps(PRIOR)) == 2 * steps
    assert set(method.timesteps(PRIOR)) == {60}
    x = pictures()
    begun = method.start(PRIOR, 2 * x - 1, STREAM(range(len(x))))
    left = (1 - fraction) ** steps
    torch.testing.assert_close(purified(method, x), MEAN + left * (begun - MEAN), rtol=0, atol=1e-9)


def test_limits_bind_and_short_steps_end_it() -> None:
    x, slope = pictures(), SIGMA / (STD**2 + SIGMA**2)
    begun = ADP(SIGMA).start(PRIOR, 2 * x - 1, STREAM(range(len(x))))

    def moved(**changes: Any) -> Tensor:
        """Share of the way to the mean that one step went."""
        found = purified(ADP(SIGMA, 1, **changes), x)
        return 1 - (found - MEAN) / (begun - MEAN)

    def everywhere(share: float) -> Tensor:
        return torch.full_like(x, share)

    longest, shortest = moved(longest=0.002), moved(fraction=1e-4, shortest=0.003)
    torch.testing.assert_close(longest, everywhere(0.002 * slope), rtol=0, atol=1e-7)
    torch.testing.assert_close(shortest, everywhere(0.003 * slope), rtol=0, atol=1e-7)
    assert bool((moved(stop=1.01 * 0.05 / slope).abs() < 1e-9).all())
    assert bool((moved(stop=0.99 * 0.05 / slope) > 0.04).all())


def test_a_field_that_grows_or_stays() -> None:
    g = torch.ones(2, 1, 2, 2, dtype=F64).requires_grad_()
    method = ADP()
    assert method.lengths(g, 1.01 * g).tolist() == [method.shortest] * 2
    found = method.lengths(g, g.detach())
    assert found.tolist() == [method.longest] * 2
    assert method.lengths(0 * g, 0 * g).tolist() == [method.longest] * 2
    (gradient,) = torch.autograd.grad(found.sum(), g)
    assert bool(gradient.isfinite().all())


def test_a_network_that_is_not_told_the_noise() -> None:
    """It sees sigma as the distance from the one picture that there is: f has length sqrt(n) everywhere, and
    the longest step is taken until the next would pass the picture."""
    process = ProcessConfig("ve", 40, low=0.02, high=2.0, unit_labels=True).build()
    assert process.label.tolist() == [1.0] * 41

    def network(x: Tensor, label: Tensor) -> Tensor:
        gap = x - 0.2
        return gap / gap.square().flatten(1).mean(1).sqrt().view(-1, 1, 1, 1)

    x, found = torch.full((3, 1, 8, 8), 0.6, dtype=F64), []
    for steps in (1, 2):
        prior = prior_of(Denoiser(network, process))
        end = ADP(0.25, steps).purify(prior, 2 * x - 1, STREAM(range(3)))
        found.append(((end + 1) / 2 - 0.6).square().flatten(1).mean(1).sqrt())
    start = (ADP(0.25).start(PRIOR, 2 * x - 1, STREAM(range(3))) - 0.6).square().flatten(1).mean(1).sqrt()
    torch.testing.assert_close(found[0], start - 0.1)
    torch.testing.assert_close(found[1], start - 0.2)


def test_gradients_are_those_of_the_whole() -> None:
    """Of lengths too: on Gaussian data they are constant, on others finite differences say what they are."""
    x = pictures().requires_grad_()
    method = ADP(SIGMA, 3, 0.3, longest=10.0)
    seeds = list(range(len(x)))
    logits = Purified(Sum(), PRIOR, method).seeded(x, seeds)
    (slope,) = torch.autograd.grad(logits[:, 0].sum(), x)
    torch.testing.assert_close(slope, torch.full_like(slope, 0.7**3), rtol=0, atol=1e-6)

    def network(x: Tensor, label: Tensor) -> Tensor:
        return torch.sin(3 * x) + 0.5 * x.flip(-1).square()

    bent = prior_of(Denoiser(network, Diffusion.ve(schedule.geometric(20, 0.02, 2.0))))
    direction = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=F64)

    def total(t: float) -> Tensor:
        return method.purify(bent, 2 * (x + t * direction) - 1, STREAM(seeds)).sum()

    (slope,) = torch.autograd.grad(total(0.0), x)
    with torch.no_grad():
        wanted = (total(1e-5) - total(-1e-5)) / 2e-5
    assert float((slope * direction).sum()) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sigma": -0.1}, "0 or more"),
        ({"sigma": 100.0}, "knows noise up to"),
        ({"steps": 0}, "1 or more"),
        ({"fraction": 0.0}, "are positive"),
        ({"delta": 0.0}, "are positive"),
        ({"shortest": 0.2}, "shortest <= longest"),
        ({"units": "pixels"}, "noise or score"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ADP(**changes).apply(exact_prior((1, 8, 8)), torch.zeros(1, 1, 8, 8))


def test_a_prior_that_ends_in_pure_noise_is_seen_below_it() -> None:
    prior = prior_of(Exact(Diffusion.flow(10), 0.0, 1.0))
    found = ADP(steps=2).apply(prior, torch.zeros(1, 1, 8, 8), seed=0, progress=False)
    assert found.isfinite().all()
