"""Euler on the reversed process: moments, order, rates of the tables; gradients by recomputation."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from closed_form import F64, Exact
from headwater.controls import Clip
from headwater.core import (
    Denoiser,
    Diffusion,
    DPMSolver,
    ReverseSDE,
    Sampler,
    descend,
    last,
    reverse,
)
from headwater.core.schedule import betas, geometric
from headwater.noise import White
from headwater.sampling import Recomputed

MEAN, STD, N = 0.3, 0.5, 20_000
CONTINUOUS = Diffusion.vp_sde(torch.linspace(0.001, 1, 1000, dtype=F64))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "q",
    [CONTINUOUS, Diffusion.vp(betas("linear", 1000)), Diffusion.ve(geometric(1000))],
    ids=["vp-sde", "vp", "ve"],
)
def test_moments(q: Diffusion, eta: float) -> None:
    stream = White().stream([3])
    x = q.start(torch.empty(1, N, dtype=F64), stream)
    end = last(reverse(Exact(q, MEAN, STD), x, descend(1000), ReverseSDE(eta), noise=stream))
    assert abs(float(end.mean()) - MEAN) < 3 * STD / math.sqrt(N)
    # The bias in the width is of first order in the step: 2.6 % for the ODE at 1,000 steps, less with noise.
    assert float(end.std()) == pytest.approx(STD, rel=0.03)


def test_rates_of_a_continuous_table_are_the_derivatives_of_its_scales() -> None:
    q = CONTINUOUS
    assert q.sde is not None
    u, slope = q.sde.time, (q.alpha[2:].log() - q.alpha[:-2].log())
    du = u[2:] - u[:-2]
    torch.testing.assert_close(q.sde.drift[1:-1], slope / du, rtol=1e-6, atol=1e-6)
    variance = q.sigma.square()
    growth = (variance[2:] - variance[:-2]) / du
    torch.testing.assert_close(
        q.sde.diffusion[1:-1], growth - 2 * q.sde.drift[1:-1] * variance[1:-1], rtol=1e-3, atol=1e-4
    )


def test_a_table_without_rates_steps_as_its_own_chain() -> None:
    q = Diffusion.vp(betas("linear", 50))
    a, b = q.between(20, 30)
    assert q.increments(20, 30) == (a - 1, b * b)
    many = q.increments(torch.tensor([20, 3]), torch.tensor([30, 4]))
    assert float(many[0][0]) == pytest.approx(a - 1)
    assert float(CONTINUOUS.increments(torch.tensor([9]), torch.tensor([12]))[1]) == pytest.approx(
        CONTINUOUS.increments(9, 12)[1]
    )


@pytest.mark.parametrize("rates", [True, False])
def test_the_ode_is_of_first_order(rates: bool) -> None:
    def end(n: int) -> Tensor:
        times = torch.linspace(0.2, 0.8, n + 1, dtype=F64)
        q = Diffusion.vp_sde(times)
        q = q if rates else Diffusion(q.alpha, q.sigma, q.label)
        var = q.alpha[-1] ** 2 * STD**2 + q.sigma[-1] ** 2
        x = q.alpha[-1] * MEAN + torch.linspace(-3, 3, 7, dtype=F64)[None] * var.sqrt()
        return last(reverse(Exact(q, MEAN, STD), x, list(range(n + 1, 0, -1)), ReverseSDE(0.0)))

    low = Diffusion.vp_sde(torch.tensor([0.2], dtype=F64))
    spread = (low.alpha[1] ** 2 * STD**2 + low.sigma[1] ** 2).sqrt()
    truth = low.alpha[1] * MEAN + torch.linspace(-3, 3, 7, dtype=F64)[None] * spread
    errors = [float((end(n) - truth).abs().max()) for n in (40, 80, 160)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(1, abs=0.15)


class Deep(torch.nn.Module):
    """Eight layers whose activations are 16 times the picture: what a walk must not keep."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(8, 16, 16, generator=generator) / 4)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = x[..., None] * torch.linspace(-1, 1, 16, dtype=x.dtype) + label[:, None, None] / 50
        for weight in self.weight:
            h = torch.tanh(h @ weight.to(x.dtype)) + h
        return h.mean(-1)


def gradient(model: object, x: Tensor, steps: int, sampler: Sampler) -> tuple[Tensor, float]:
    """Gradient of the end point's square, and what autograd kept per step, in states."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    x = x.clone().requires_grad_()
    plan = [0, *descend(40, steps)]
    controls = [] if sampler.multistep else [Clip(-2, 2)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        noise = White().stream(range(len(x)))
        end = last(reverse(model, x, plan, sampler, controls, noise, keep_graph=True))  # type: ignore[arg-type]
    (found,) = torch.autograd.grad(end.square().sum(), x)
    return found, kept / (x.numel() * x.element_size() * steps)


@pytest.mark.parametrize("sampler", [ReverseSDE(), ReverseSDE(0.0), DPMSolver()], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (F64, 1e-10)])
def test_recomputed_gradients_are_autograd_s(sampler: Sampler, dtype: torch.dtype, tolerance: float) -> None:
    model = Denoiser(Deep(), Diffusion.vp(betas("linear", 50)), "v")
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(1)).to(dtype)
    (plain, much), (again, little) = (gradient(m, x, 8, sampler) for m in (model, Recomputed(model)))
    torch.testing.assert_close(again, plain, rtol=tolerance, atol=tolerance * float(plain.abs().max()))
    assert bool((plain != 0).any())
    assert little <= 4 < 100 < much


def test_kept_memory_per_step_does_not_depend_on_the_network() -> None:
    model = Recomputed(Denoiser(Deep(), Diffusion.vp(betas("linear", 50)), "v"))
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    assert gradient(model, x, 5, ReverseSDE())[1] == gradient(model, x, 40, ReverseSDE())[1] <= 4


def test_parameters_get_their_gradient_too() -> None:
    inner = Denoiser(Deep(), Diffusion.vp(betas("linear", 50)), "v")
    found = []
    for model in (inner, Recomputed(inner)):
        x = torch.ones(2, 20)
        noise = White().stream(range(2))
        end = last(reverse(model, x, [0, *descend(40, 4)], ReverseSDE(), (), noise, keep_graph=True))
        found.append(torch.autograd.grad(end.square().sum(), inner.network.weight)[0])  # type: ignore[union-attr]
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=0)
