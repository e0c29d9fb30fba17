"""Discrete chains: closed forms against dense matrix products, posteriors, and the memory they need."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from closed_form import F64
from headwater.core import (
    Ancestral,
    ClassifierMean,
    ClassifierScore,
    Prediction,
    descend,
    last,
    reverse,
)
from headwater.core.schedule import betas
from headwater.core.transition import LangevinMove
from headwater.discrete import Categorical, Discrete, absorbing, mask_and_replace, uniform
from headwater.discrete.categorical import inverted
from headwater.discrete.denoiser import bound_term
from headwater.discrete.information import removed, stepwise
from headwater.discrete.process import Dense, discretised_gaussian
from headwater.noise import White

K, T = 6, 12
law = settings(max_examples=200, derandomize=True, deadline=None)


def one_step_matrices(chain: str, rates: Tensor, stay: Tensor) -> Tensor:
    """(T, K, K), written down entry by entry from the papers. `stay` scales what is left unmasked."""
    steps = torch.zeros(len(rates), K, K, dtype=F64)
    for step, beta, mask in zip(steps, rates, stay, strict=True):
        if chain == "uniform":
            step.copy_((1 - beta) * torch.eye(K, dtype=F64) + beta / K)
        elif chain == "absorbing":
            step.copy_((1 - beta) * torch.eye(K, dtype=F64))
            step[:, 2] += beta
        else:  # a free category stays, moves to any free one, or is masked
            step[:-1, :-1] = (1 - beta) * (1 - mask) * torch.eye(K - 1, dtype=F64)
            step[:-1, :-1] += beta * (1 - mask) / (K - 1)
            step[:-1, -1] = mask
            step[-1, -1] = 1
    return steps


def pair(chain: str, seed: int) -> tuple[Discrete, Dense]:
    """The closed form and the dense chain of the same random rates."""
    generator = torch.Generator().manual_seed(seed)
    rates, stay = torch.rand(2, T, dtype=F64, generator=generator) * 0.4
    dense = Dense(one_step_matrices(chain, rates, stay))
    if chain == "uniform":
        return uniform(K, rates), dense
    if chain == "absorbing":
        return absorbing(K, rates, mask=2), dense
    one = torch.ones(1, dtype=F64)
    free = torch.cat([one, (1 - stay).cumprod(0)])
    return mask_and_replace(K, free * torch.cat([one, (1 - rates).cumprod(0)]), free, mask=K - 1), dense


chains = st.sampled_from(["uniform", "absorbing", "mask_and_replace"])
levels = st.integers(0, T)
seeds = st.integers(0, 2**31)


def matrix(q: Discrete, s: int, t: int) -> Tensor:
    return q.forward(torch.eye(K, dtype=F64), s, t)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)


@law
@given(chains, levels, levels, seeds)
def test_closed_forms_are_matrix_products(chain: str, i: int, j: int, seed: int) -> None:
    closed, dense = pair(chain, seed)
    s, t = sorted((i, j))
    close(matrix(closed, s, t), dense.matrix(s, t))
    close(matrix(closed, s, t).sum(-1), torch.ones(K, dtype=F64))
    x = torch.arange(K)[None]
    close(closed.column(x, s, t)[0], dense.matrix(s, t).T)
    close(dense.column(x, s, t)[0], dense.matrix(s, t).T)


@law
@given(chains, levels, levels, levels, seeds)
def test_transitions_compose(chain: str, i: int, j: int, k: int, seed: int) -> None:
    r, s, t = sorted((i, j, k))
    for q in pair(chain, seed):
        close(matrix(q, r, s) @ matrix(q, s, t), matrix(q, r, t))


@law
@given(chains, st.integers(1, T), levels, seeds, st.sampled_from(["paper", "exact"]))
def test_posterior_of_a_certain_x0_is_bayes_and_marginalises(
    chain: str, t: int, i: int, seed: int, mixture: str
) -> None:
    s = min(i, t - 1)
    closed, dense = pair(chain, seed)
    object.__setattr__(closed, "mixture", mixture)
    for start in range(K):
        certain = torch.full((1, K, K), -torch.inf, dtype=F64)
        certain[..., start] = 0
        x = torch.arange(K)[None]
        posterior = closed.posterior(x, certain, t, s).probs[0]
        joint = dense.matrix(0, s)[start][:, None] * dense.matrix(s, t)  # (x_s, x_t)
        reached = joint.sum(0) > 1e-14
        close(posterior[reached], (joint / joint.sum(0)).T[reached])
        total = (posterior * dense.matrix(0, t)[start][:, None])[reached].sum(0)
        close(total, dense.matrix(0, s)[start])


@law
@given(chains, st.integers(1, T), levels, seeds)
def test_exact_mixture_is_bayes_for_a_perfect_network(chain: str, t: int, i: int, seed: int) -> None:
    s = min(i, t - 1)
    closed, dense = pair(chain, seed)
    object.__setattr__(closed, "mixture", "exact")
    prior = torch.rand(K, dtype=F64, generator=torch.Generator().manual_seed(seed)) + 0.05
    prior /= prior.sum()
    joint0 = prior[:, None] * dense.matrix(0, t)
    perfect = (joint0 / joint0.sum(0)).T.log()[None]  # p(x_0 | x_t) for every x_t
    joint = (prior @ dense.matrix(0, s))[:, None] * dense.matrix(s, t)
    reached = joint.sum(0) > 1e-14
    got = closed.posterior(torch.arange(K)[None], perfect, t, s).probs[0]
    close(got[reached], (joint / joint.sum(0)).T[reached])


@law
@given(st.integers(1, T), levels, seeds)
def test_absorbing_posterior_and_bound(t: int, i: int, seed: int) -> None:
    # Austin et al. 2021, A.3: a masked token is revealed with probability (keep_s - keep_t) / (1 - keep_t),
    # and the KL of the bound is that probability times the cross entropy of the predicted x_0.
    s = min(i, t - 1)
    q, _ = pair("absorbing", seed)
    assert hasattr(q, "keep")
    keep_s, keep_t = float(q.keep[s]), float(q.keep[t])  # pyright: ignore
    reveal = (keep_s - keep_t) / (1 - keep_t)
    masked = torch.tensor([[2]])
    logits = torch.randn(1, 1, K, dtype=F64, generator=torch.Generator().manual_seed(seed))
    logits[..., 2] = -torch.inf
    for x0 in (0, 1, 3, 4, 5):
        certain = torch.full((1, 1, K), -torch.inf, dtype=F64)
        certain[..., x0] = 0
        true = q.posterior(masked, certain, t, s).probs[0, 0]
        expected = torch.zeros(K, dtype=F64)
        expected[x0], expected[2] = reveal, 1 - reveal
        close(true, expected)
        model = q.posterior(masked, logits, t, s).probs[0, 0]
        used = true > 0
        kl = (true * (true / model).log())[used].sum()
        close(kl, -reveal * logits.log_softmax(-1)[0, 0, x0])
        stay = q.posterior(torch.tensor([[x0]]), logits, t, s).probs[0, 0]
        close(stay, torch.nn.functional.one_hot(torch.tensor(x0), K).double())


@law
@given(chains, st.lists(st.integers(1, T), min_size=1, max_size=4), seeds)
def test_one_level_per_sample_is_a_loop_over_levels(chain: str, ts: list[int], seed: int) -> None:
    t = torch.tensor(ts)
    s = torch.div(t, 2, rounding_mode="floor")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(K, (len(ts), 3), generator=generator)
    logits = torch.randn(len(ts), 3, K, dtype=F64, generator=generator)
    for q in pair(chain, seed):
        batch = q.posterior(x, logits, t, s).logits
        carried = q.forward(logits.softmax(-1), s, t)
        for i, level in enumerate(ts):
            one = slice(i, i + 1)
            close(batch[one], q.posterior(x[one], logits[one], level, level // 2).logits)
            close(carried[one], q.forward(logits[one].softmax(-1), level // 2, level))


@pytest.mark.parametrize("k", [2, 5, 32])
def test_discretised_gaussian_is_symmetric_and_doubly_stochastic(k: int) -> None:
    q = discretised_gaussian(k, betas("linear", 20, start=1e-3, end=0.1))
    for step in q.steps:
        close(step, step.T.contiguous())
    for step in [*q.steps, q.matrix(0, 20), q.matrix(3, 11)]:  # products need not be symmetric
        close(step.sum(0), torch.ones(k, dtype=F64))
        close(step.sum(1), torch.ones(k, dtype=F64))
        assert (step >= 0).all()
    fall = q.steps[-1][0]
    assert (fall.diff() <= 0).all()


def test_draws_follow_q_and_x_T_follows_its_prior() -> None:
    n = 40_000
    for chain in ("uniform", "absorbing", "mask_and_replace"):
        closed, dense = pair(chain, 3)
        stream = White().stream([1])
        x0 = torch.ones(1, n, dtype=torch.int64)
        for s, t in ((0, 4), (4, T)):
            x = x0 if s == 0 else drawn  # noqa: F821
            drawn = closed.advance(x, s, t, stream)
            rows = dense.matrix(0, t)[1]
            counted = torch.bincount(drawn[0], minlength=K) / n
            assert ((counted - rows).abs() <= 4 * (rows * (1 - rows) / n).sqrt() + 1e-12).all()
    masked = absorbing(K, 1 / torch.arange(10, 0, -1, dtype=F64), mask=2)
    assert (masked.start(torch.zeros(2, 5, dtype=torch.int64), White().stream([1, 2])) == 2).all()
    even = uniform(K, torch.full((50,), 0.5, dtype=F64)).start(torch.zeros(1, n, dtype=torch.int64), stream)
    assert (torch.bincount(even[0], minlength=K) / n - 1 / K).abs().max() < 4 * (1 / K / n) ** 0.5
    gauss = discretised_gaussian(K, torch.full((50,), 0.5, dtype=F64))
    even = gauss.start(torch.zeros(1, n, dtype=torch.int64), stream)
    assert (torch.bincount(even[0], minlength=K) / n - 1 / K).abs().max() < 4 * (1 / K / n) ** 0.5


def test_reverse_walk_of_an_absorbing_chain_unmasks_everything_and_reruns_identically() -> None:
    q = absorbing(K, 1 / torch.arange(10, 0, -1, dtype=F64), mask=2)

    def denoiser(x: Tensor, t: int, previous: object = None) -> Prediction:
        logits = torch.zeros(*x.shape, K)
        logits[..., 2] = -torch.inf
        return Prediction(x, t, logits, torch.zeros(len(x)))

    denoiser.process = q  # pyright: ignore

    def walk(rows: list[int]) -> Tensor:
        stream = White().stream(rows)
        x = q.start(torch.zeros(len(rows), 64, dtype=torch.int64), stream)
        return last(reverse(denoiser, x, descend(10), Ancestral(), noise=stream))  # pyright: ignore

    end = walk([5, 6, 7])
    assert (end != 2).all()
    assert torch.equal(end, walk([5, 6, 7]))
    assert torch.equal(end[1:2], walk([6]))


def test_impossible_parameters_are_refused() -> None:
    one = torch.ones(3, dtype=F64)
    with pytest.raises(ValueError, match="one of the 4 categories"):
        absorbing(4, one / 2, mask=4)
    with pytest.raises(ValueError, match="keep <= free"):
        mask_and_replace(4, one, one / 2, mask=3)


MEASURE = """
import torch
from headwater.bench.peak_memory import peak_bytes
from headwater.noise import White
from headwater.discrete.process import absorbing, mask_and_replace, uniform
K, T = 8192, 1000
even = torch.linspace(1, 0.001, T + 1, dtype=torch.float64)
rates = 1 - even[1:] / even[:-1]
x = torch.randint(K, (1, 256))
logits = torch.randn(1, 256, K)
replaced = mask_and_replace(K, even * 0.9 ** (1 - even), even, K - 1)
for q in (uniform(K, rates), absorbing(K, rates, K - 1), replaced):
    xt = q.sample(x, 500, White().stream([0]))
    assert q.posterior(xt, logits, 500, 499).logits.shape == (1, 256, K)
print(peak_bytes() / 2**20)
"""


def test_8192_categories_and_1000_levels_fit_in_a_gigabyte() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1024, f"{done.stdout} MiB, torch itself included"


def test_guidance_shifts_logits_but_not_by_a_gradient_of_x() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    moved = Categorical(logits).shift(torch.tensor([3.0, 0.0, 0.0]))
    assert torch.equal(moved.logits, torch.tensor([[3.0, 1.0, 2.0]]))
    q = uniform(3, betas("cosine", 10))
    assert q.label.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    pred = Prediction(torch.zeros(1, 1, dtype=torch.int64), 3, logits, torch.zeros(1))
    with pytest.raises(TypeError, match="needs a Gaussian transition"):
        ClassifierMean(lambda x, label: x).transition(moved, pred, 2)
    with pytest.raises(TypeError, match="needs a Gaussian process"):
        ClassifierScore(lambda x, label: x).denoised(pred)
    with pytest.raises(TypeError, match="use a Stream"):
        moved.sample(lambda like, level: like)


def test_langevin_moves_from_where_guidance_put_it() -> None:
    x, score = torch.ones(1, 2), torch.ones(1, 2)
    move = LangevinMove(x, score, 0.1, 1.0)
    moved = move.shift(torch.full((1, 2), 0.5))
    here, there = (m.sample(lambda like, level: torch.ones_like(like)) for m in (move, moved))
    torch.testing.assert_close(there - here, torch.full((1, 2), 0.5))


def test_the_bound_is_finite_for_the_most_mistaken_finite_logits():
    # Tails of a discretised Gaussian times 1e-30 are no float32 any more; their logarithms are.
    q = discretised_gaussian(17, betas("linear", 64))
    x0 = torch.arange(17).repeat(17)[:, None]
    logits = 400 * torch.nn.functional.one_hot(torch.arange(17).repeat_interleave(17), 17).float()[:, None]
    for t in range(1, 65):
        x = q.sample(x0, t, White().stream(range(len(x0))))
        terms = bound_term(q, Prediction(x, t, logits, torch.zeros(len(x0))), x0, t - 1)
        assert torch.isfinite(terms).all(), t


class Counted:
    """A noise source that counts its uniform draws."""

    def __init__(self) -> None:
        self.stream, self.drawn = White().stream([0]), 0

    def __call__(self, like: Tensor, level: object = 0) -> Tensor:
        raise AssertionError("uniforms only")

    def uniform(self, like: Tensor) -> Tensor:
        self.drawn += like.numel()
        return self.stream.uniform(like)


@pytest.mark.parametrize("chain", ["uniform", "absorbing", "mask_and_replace"])
def test_forward_draws_have_the_law_of_the_chain_and_cost_two_uniforms(chain: str) -> None:
    K, T, n = 5, 8, 40_000
    keep = torch.linspace(1, 0.1, T + 1, dtype=torch.float64)
    q = {
        "uniform": uniform(K, torch.full((T,), 0.1)),
        "absorbing": absorbing(K, torch.full((T,), 0.1), 2),
        "mask_and_replace": mask_and_replace(K, keep, keep.sqrt(), 2),
    }[chain]
    for s, t in ((0, 5), (3, 6), (0, T)):
        for start in range(K):
            noise = Counted()
            found = q.advance(torch.full((1, n), start), s, t, noise)
            assert noise.drawn == 2 * n
            law = q.forward(torch.eye(K)[start], s, t)
            share = torch.bincount(found[0], minlength=K) / n
            assert (share - law).abs().max() < 4.5 * (0.25 / n) ** 0.5
            assert not share[law == 0].any()


def test_draws_invert_the_distribution_function_and_find_nothing_impossible() -> None:
    law = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0])
    noise = Counted()
    found = Categorical(law.log().expand(1, 40_000, 5)).sample(noise)
    assert noise.drawn == 40_000
    share = torch.bincount(found[0], minlength=5) / 40_000
    assert (share - law).abs().max() < 0.01
    assert not share[law == 0].any()
    ends = torch.tensor([0.0, 1e-9, 1.0, 1 - 1e-9])
    assert inverted(law.cumsum(0), ends).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("chain", ["gaussian", "uniform", "absorbing"])
def test_rates_forget_evenly_until_nothing_is_left(chain: str) -> None:
    def step(rate: float) -> Tensor:
        if chain == "gaussian":
            return discretised_gaussian(K, torch.tensor([rate])).steps[0]
        beta = -torch.expm1(-torch.tensor([rate], dtype=F64))
        one = uniform(K, beta) if chain == "uniform" else absorbing(K, beta, 2)
        return one.forward(torch.eye(K, dtype=F64), 0, 1)

    shares, total = torch.tensor([0.5, 0.0, 0.1, 0.1, 0.1, 0.2], dtype=F64), torch.eye(K, dtype=F64)
    for t, rate in enumerate(stepwise(T, shares, step), 1):
        total = total @ step(rate)
        # One step of a Gaussian chain leaves every second value alone: it cannot forget all at the last.
        assert float(removed(shares, total)) == pytest.approx(t / T, abs=0.02 if t == T else 1e-5)
