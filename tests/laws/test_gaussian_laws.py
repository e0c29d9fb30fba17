"""Identities of Gaussian processes, denoisers and samplers that hold for every schedule and level."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from closed_form import F64, Exact, Tape
from headwater.core import (
    DDIM,
    Ancestral,
    Denoiser,
    Diffusion,
    DPMSolver,
    FlowODE,
    Heun,
    Langevin,
    Prediction,
    PredictorCorrector,
    Sampler,
    descend,
    last,
    respaced,
    reverse,
)
from headwater.core.schedule import BETAS, betas, geometric, zero_terminal_snr
from headwater.nets.wrappers import Preconditioned, RealAndImaginary
from headwater.noise import White

PROCESSES = {
    **{name: Diffusion.vp(betas(name, 100)) for name in BETAS},
    "zero-snr": Diffusion.vp(zero_terminal_snr(betas("linear", 100))),
    "vp-sde": Diffusion.vp_sde(torch.linspace(0.01, 1, 100, dtype=F64)),
    "ve": Diffusion.ve(geometric(100)),
    "edm": Diffusion.edm(100),
    "flow": Diffusion.flow(100),
}
TARGETS = ("eps", "x0", "v", "score")
law = settings(max_examples=250, derandomize=True, deadline=None)
processes = st.sampled_from(sorted(PROCESSES)).map(PROCESSES.__getitem__)
levels = st.integers(0, 100)
values = st.floats(-3, 3, allow_subnormal=False)


def close(actual: Tensor | float, expected: Tensor | float, scale: float = 1.0) -> None:
    difference = (torch.as_tensor(actual, dtype=F64) - torch.as_tensor(expected, dtype=F64)).abs().max()
    assert difference <= 1e-12 * max(1.0, scale), float(difference)


def of(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=F64)


@law
@given(processes, levels, levels, levels)
def test_q_composes(q: Diffusion, i: int, j: int, k: int) -> None:
    r, s, t = sorted((i, j, k))
    if q.alpha[s] == 0:
        return  # nothing is left to scale
    (a1, b1), (a2, b2), (a, b) = q.between(r, s), q.between(s, t), q.between(r, t)
    scale = float(q.sigma[t]) ** 2
    close(a1 * a2, a)
    close(a2 * a2 * b1 * b1 + b2 * b2, b * b, scale)
    close(q.alpha[t], q.between(0, t)[0])
    close(q.sigma[t] ** 2, q.between(0, t)[1] ** 2, scale)


@law
@given(processes, levels, levels)
def test_posterior_marginalises_to_q(q: Diffusion, i: int, j: int) -> None:
    s, t = sorted((i, j))
    if s == t or q.alpha[s] == 0:
        return
    on_x = q.posterior(of(1), of(0), t, s)
    on_x0 = q.posterior(of(0), of(1), t, s)
    close(on_x.mean * q.alpha[t] + on_x0.mean, q.alpha[s])
    variance = on_x.mean**2 * q.sigma[t] ** 2 + on_x.std**2
    close(variance, q.sigma[s] ** 2, float(q.sigma[t]) ** 2)


@law
@given(processes, st.integers(1, 100), values, values)
def test_targets_convert_into_each_other(q: Diffusion, t: int, clean: float, noise: float) -> None:
    x0, eps = of(clean), of(noise)
    x = q.combine(x0, eps, t)
    a, b = float(q.alpha[t]), float(q.sigma[t])
    for target in TARGETS:
        network = Denoiser(lambda x, label: x, q, predicts=target)
        truth = network.target(x0, eps, t)
        if a == 0 and target in ("eps", "score"):
            continue
        pred = Denoiser(lambda x, label, out=truth: out, q, predicts=target)(x, t)
        worst = max(1.0, b / max(a, 1e-300) * 10, b * 10, 1 / b) if target in ("eps", "score") else 1 / b
        close(pred.x0, x0, worst)
        close(pred.eps, eps, worst)
        close(pred.v, a * eps - b * x0, worst * max(1, b))
        close(pred.score, -eps / b, worst / b)
        close(q.combine(pred.x0, pred.eps, t), x, max(b, 1) * 10)
        moved = pred.with_x0(pred.x0 + 1)
        close(a * moved.x0 + b * moved.eps, x, max(b, 1) * 10)


@law
@given(processes, st.lists(st.integers(1, 100), min_size=1, max_size=5), st.integers(0, 2**31))
def test_one_level_per_sample_is_a_loop_over_levels(q: Diffusion, ts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0, x, eps = (torch.randn(len(ts), 2, 3, dtype=F64, generator=generator) for _ in range(3))
    t = torch.tensor(ts)
    s = torch.div(t, 2, rounding_mode="floor")
    if (q.alpha[t] == 0).any():
        return
    exact = Exact(q, 0.3, 0.5)
    together = exact(x, t)
    batch = q.posterior(x, x0, t, s)
    for i, level in enumerate(ts):
        one, low = slice(i, i + 1), level // 2
        close(q.combine(x0, eps, t)[one], q.combine(x0[one], eps[one], level), 80)
        close(q.advance(x, s, t, Tape([eps]))[one], q.advance(x[one], low, level, Tape([eps[one]])), 80)
        alone = q.posterior(x[one], x0[one], level, low)
        close(batch.mean[one], alone.mean, 10)
        close(torch.as_tensor(batch.std)[i], alone.std, 80)
        single = exact(x[one], level)
        close(together.x0[one], single.x0)
        close(together.eps[one], single.eps, 100)
        assert torch.equal(together.label[one], single.label)
        for small, big in zip(q.log_variances(level, low), q.log_variances(t, s), strict=True):
            if low:
                close(small, torch.as_tensor(big)[i], 10)


@law
@given(processes, st.integers(1, 100), st.integers(0, 2**31))
def test_complex_data_are_two_real_parts(q: Diffusion, t: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, x0, eps = (torch.randn(2, 3, dtype=torch.complex128, generator=generator) for _ in range(3))
    for whole, part in ((lambda v: v, torch.view_as_real),):
        close(part(q.combine(x0, eps, t)), q.combine(part(x0), part(eps), t), 80)
        post, real = q.posterior(whole(x), whole(x0), t, t - 1), q.posterior(part(x), part(x0), t, t - 1)
        close(part(post.mean), real.mean, 10)
        assert post.std == real.std
    if q.alpha[t] == 0:
        return
    exact = Exact(q, 0.0, 0.7)
    close(torch.view_as_real(exact(x, t).x0), exact(torch.view_as_real(x), t).x0)
    for sampler in (Ancestral(), DDIM(0.5), DPMSolver(), Heun()):
        dist, _ = sampler.step(q, exact(x, t), t - 1)
        twin, _ = sampler.step(q, exact(torch.view_as_real(x), t), t - 1)
        close(torch.view_as_real(dist.mean), twin.mean, 100)  # pyright: ignore


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.sampled_from(["50", "10,15,20", "ddim25", "7"]), st.sampled_from(["linear", "cosine", "sqrt"]))
def test_a_respaced_walk_is_a_walk_on_the_sub_table(spec: str, name: str) -> None:
    whole = Diffusion.vp(betas(name, 100))
    plan = respaced(100, spec)
    keep = torch.tensor(plan[::-1])
    part = Diffusion(whole.alpha[keep], whole.sigma[keep], whole.label[keep])
    x = torch.randn(2, 3, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    for sampler in (Ancestral(), Ancestral("large"), DDIM(0.3), DPMSolver(), Heun(), FlowODE()):
        ends = [
            last(reverse(Exact(q, 0.3, 0.5), x, p, sampler, noise=White().stream([1, 2])))
            for q, p in ((whole, plan), (part, descend(part.T)))
        ]
        close(ends[0], ends[1])


def test_ddim_with_eta_one_is_the_ancestral_step() -> None:
    for q in PROCESSES.values():
        x = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
        for t, s in ((90, 60), (50, 49), (2, 1), (1, 0)):
            pred = Exact(q, 0.2, 0.6)(x, t)
            ddim, small = DDIM(1.0).step(q, pred, s)[0], Ancestral().step(q, pred, s)[0]
            close(ddim.mean, small.mean, 80)  # pyright: ignore
            close(ddim.std, small.std, 80)  # pyright: ignore


def test_first_order_solvers_are_ddim() -> None:
    for q in PROCESSES.values():
        x = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
        for t, s in ((99, 60), (50, 49), (1, 0)):
            pred = Exact(q, 0.2, 0.6)(x, t)
            ddim = DDIM().step(q, pred, s)[0]
            for other in (DPMSolver(order=1), DPMSolver(), Heun(), FlowODE()):
                close(other.step(q, pred, s)[0].mean, ddim.mean, 100)  # pyright: ignore


def test_the_loss_is_zero_only_for_the_target() -> None:
    q = PROCESSES["linear"]
    x0, eps = (torch.randn(4, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    t = torch.tensor([1, 20, 60, 100])
    for target in TARGETS:
        truth = Denoiser(lambda x, label: x, q, predicts=target).target(x0, eps, t)
        right = Denoiser(lambda x, label, out=truth: out, q, predicts=target)
        assert torch.equal(right.loss(x0, t, eps), torch.zeros(4, dtype=F64))
        off = Denoiser(lambda x, label, out=truth: out + 2, q, predicts=target)
        close(off.loss(x0, t, eps), torch.full((4,), 4.0), 100)


def test_zero_terminal_snr_ends_in_pure_noise_and_refuses_an_eps_network() -> None:
    q = PROCESSES["zero-snr"]
    assert q.alpha[-1] == 0
    assert q.sigma[-1] == 1
    assert torch.equal(Diffusion.vp(betas("linear", 100)).alpha[1], q.alpha[1])
    x = torch.ones(1, 1, 2, dtype=F64)
    for target in ("eps", "score"):
        with pytest.raises(ValueError, match="pure noise"):
            Denoiser(lambda x, label: x, q, predicts=target)(x, 100)
    v_network = Denoiser(lambda x, label: torch.zeros_like(x), q, predicts="v")
    assert last(reverse(v_network, x, descend(100, 10), DDIM())).isfinite().all()
    with pytest.raises(ValueError, match="divides by alpha"):
        last(reverse(v_network, x, descend(100, 10), Heun()))
    for sampler in (Ancestral(), DPMSolver(), DPMSolver(kind="sde"), FlowODE()):
        x0_network = Denoiser(lambda x, label: torch.full_like(x, 0.5), q, predicts="x0")
        end = last(reverse(x0_network, x, descend(100, 10), sampler))
        close(end, torch.full_like(end, 0.5))


SAMPLERS: list[Sampler] = [
    Ancestral(),
    Ancestral("large"),
    DDIM(0.4),
    DPMSolver(),
    DPMSolver(kind="sde"),
    Heun(),
    FlowODE(),
    PredictorCorrector(Ancestral(), Langevin(0.1)),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64])
def test_a_walk_is_bit_identical_in_any_batch_and_on_a_rerun(sampler: Sampler, dtype: torch.dtype) -> None:
    q = Diffusion.vp(betas("linear", 50))
    seeds, n = [11, 12, 13, 14, 15], 5

    def walk(rows: list[int]) -> Tensor:
        stream = White().stream([seeds[i] for i in rows])
        x = q.start(torch.empty(len(rows), 3, 4, 4, dtype=dtype), stream)
        return last(reverse(Exact(q, 0.1, 0.5), x, descend(50, 20), sampler, noise=stream))

    whole = walk(list(range(n)))
    assert whole.dtype == dtype
    assert torch.equal(whole, walk(list(range(n))))
    for rows in ([0], [3], [4, 1], [2, 0, 3]):
        assert torch.equal(whole[rows], walk(rows))


def test_preconditioning_is_the_identity_of_a_perfect_inner_network() -> None:
    # For data N(0, s^2) with s = sigma_data the best inner network is 0: D = c_skip x is the exact mean.
    class Zero(torch.nn.Module):
        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            return torch.zeros_like(x)

    wrapped = Preconditioned(Zero(), data_std=0.5)
    q = Diffusion.edm(18)
    x = torch.randn(3, 1, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    for t in (1, 9, 18):
        close(Denoiser(wrapped, q, predicts="x0")(x, t).x0, Exact(q, 0.0, 0.5)(x, t).x0)


def test_a_real_network_serves_complex_images_in_one_call() -> None:
    calls = []

    class Net(torch.nn.Module):
        def forward(self, x: Tensor, label: Tensor, mask: Tensor) -> Tensor:
            calls.append(len(x))
            return x * mask + label[:, None, None]

    x = torch.randn(2, 1, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([2.0, 3.0])[:, None, None]
    out = RealAndImaginary(Net())(x, torch.tensor([5.0, 7.0]), mask=mask)
    shift = torch.tensor([5.0, 7.0])[:, None, None]
    assert torch.equal(out, torch.complex(x.real * mask + shift, x.imag * mask + shift))
    assert calls == [4]


def test_tables_that_do_not_start_at_clean_data_are_refused() -> None:
    table = torch.linspace(0, 1, 5, dtype=F64)
    with pytest.raises(ValueError, match="level 0 must be clean data"):
        Diffusion(table, table, table)
    with pytest.raises(ValueError, match="float64"):
        Diffusion(1 - table.float(), table.float(), table.float())
    with pytest.raises(ValueError, match="one length"):
        Diffusion(1 - table, table[:-1], table)


def test_a_discrete_prediction_has_no_noise() -> None:
    pred = Prediction(torch.zeros(1, 2), 3, torch.zeros(1, 2, 4), torch.zeros(1))
    with pytest.raises(ValueError, match="categories"):
        _ = pred.eps
