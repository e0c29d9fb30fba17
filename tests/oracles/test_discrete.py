"""Discrete chains with a perfect network: the Bayes denoiser of a tiny joint distribution needs no training.

Two positions of three categories have nine states, so the distribution at the end is computed, not sampled.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from closed_form import F64
from headwater.core import descend
from headwater.core.schedule import betas, reciprocal
from headwater.discrete import Discrete, DiscreteDenoiser, Mixture, absorbing, mask_and_replace, uniform
from headwater.discrete.denoiser import bound, bound_term, prior_term
from headwater.discrete.matrix_powers import nearest_neighbour, neighbour_rate
from headwater.discrete.process import RankOne, discretised_gaussian
from headwater.noise import White, seeds

K, L = 3, 2
JOINT = torch.tensor([[0.30, 0.02, 0.08], [0.03, 0.25, 0.02], [0.10, 0.05, 0.15]], dtype=F64)
"""p(x_0): the two positions depend on each other."""
ENTROPY = float(-(JOINT * JOINT.log()).sum())


class Bayes:
    """p(x_0[i] | x_t) of both positions, by Bayes' rule over all states: the best a network can say."""

    def __init__(self, q: Discrete) -> None:
        self.q = q

    def __call__(self, x: Tensor, label: Tensor) -> Tensor:
        t = label.long() + 1
        to = self.q.column(x, 0, t).double()[..., :K]  # (B, L, K): q(x_t[i] | x_0[i] = k)
        joint = JOINT * to[:, 0, :, None] * to[:, 1, None, :]
        shares = torch.stack([joint.sum(2), joint.sum(1)], 1)
        logits = shares.log() - shares.sum(-1, keepdim=True).log()
        return torch.nn.functional.pad(logits, (0, self.q.K - K), value=-torch.inf)


def chain(name: str, T: int, mixture: Mixture) -> Discrete:
    free = torch.linspace(1, 0, T + 1, dtype=F64)
    rate = neighbour_rate(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), 2)
    made: dict[str, Callable[[], Discrete]] = {
        "uniform": lambda: uniform(K, betas("cosine_unsquared", T), mixture),
        "absorbing": lambda: absorbing(K + 1, reciprocal(T), K, mixture),
        "replace": lambda: mask_and_replace(K + 1, free**1.5, free, K, mixture),
        "gaussian": lambda: discretised_gaussian(K, torch.linspace(0.05, 1.0, T, dtype=F64), mixture),
        "neighbours": lambda: nearest_neighbour(rate, torch.arange(T + 1, dtype=F64) * 6 / T, mixture),
    }
    return made[name]()


CHAINS = ["uniform", "absorbing", "replace", "gaussian", "neighbours"]


def states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(n), repeat=L)))


def distribution_at_the_end(q: Discrete, plan: list[int]) -> Tensor:
    """The distribution over all states at timestep 0, (K, K)."""
    every = states(q.K)
    mass = (q.prior[every[:, 0]] * q.prior[every[:, 1]]).double()
    network = Bayes(q)
    for t, s in itertools.pairwise(plan):
        reached = mass > 0
        x = every[reached]
        logits = network(x, torch.full((len(x),), float(t - 1)))
        probs = q.posterior(x, logits, t, s).probs  # (N, L, K)
        step = probs[:, 0, every[:, 0]] * probs[:, 1, every[:, 1]]
        mass = mass[reached] @ step
    return mass.reshape(q.K, q.K)[:K, :K]


def far(found: Tensor) -> float:
    """Total variation from the data."""
    return 0.5 * float((found - JOINT).abs().sum())


@pytest.mark.parametrize("name", CHAINS)
def test_exact_mixture_reaches_the_data(name: str) -> None:
    few, many = (far(distribution_at_the_end(chain(name, T, "exact"), descend(T))) for T in (8, 128))
    assert many < 0.03  # positions are drawn apart from each other within a step: the error is O(1 / T)
    assert many < few / 6


def test_the_papers_mixture_does_not_where_the_chain_forgets_unevenly() -> None:
    plan = descend(128)
    paper, exact = (far(distribution_at_the_end(chain("uniform", 128, m), plan)) for m in ("paper", "exact"))
    assert paper > 20 * exact
    assert paper > 0.1
    paper, exact = (expected_bound(chain("uniform", 64, m), descend(64)) for m in ("paper", "exact"))
    assert paper > exact + 0.05
    both = [distribution_at_the_end(chain("absorbing", 64, m), descend(64)) for m in ("paper", "exact")]
    torch.testing.assert_close(*both, atol=1e-12, rtol=0)  # q(mask | x_0) is the same for every x_0


def expected_bound(q: Discrete, plan: list[int]) -> float:
    """The bound averaged over p(x_0) and q(x_t | x_0), in nats per text."""
    data, weight, every, denoiser = states(K), JOINT.flatten(), states(q.K), DiscreteDenoiser(Bayes(q), q)
    total = float((prior_term(q, data) * weight).sum()) * L
    for t, s in itertools.pairwise(plan):
        for x0, w in zip(data, weight, strict=True):
            hot = torch.nn.functional.one_hot(x0, q.K).double()[None]
            to = q.forward(hot, 0, t)[0]
            chance = to[0, every[:, 0]] * to[1, every[:, 1]]
            x = every[chance > 0]
            term = bound_term(q, denoiser(x, t), x0.expand(len(x), L), s)
            total += float(w * (chance[chance > 0] * term).sum()) * L
    return total


@pytest.mark.parametrize("name", CHAINS)
def test_the_bound_lies_above_the_entropy_and_comes_near(name: str) -> None:
    full = expected_bound(chain(name, 64, "exact"), descend(64))
    skipped = expected_bound(chain(name, 64, "exact"), descend(64, 8))
    assert ENTROPY < full < ENTROPY + 0.06
    assert full < skipped < ENTROPY + 0.4


@pytest.mark.parametrize("name", ["uniform", "absorbing", "neighbours"])
def test_estimates_of_the_bound_are_unbiased(name: str) -> None:
    q = chain(name, 12, "exact")
    n = 1500
    row = torch.multinomial(JOINT.flatten(), n, True, generator=torch.Generator().manual_seed(0))
    x0 = torch.stack([row // K, row % K], 1)
    denoiser = DiscreteDenoiser(Bayes(q), q)
    every = bound(denoiser, x0, descend(12), White().stream(seeds(0, n=n)))
    some = bound(denoiser, x0, descend(12), White().stream(seeds(1, n=n)), levels=3)
    truth = expected_bound(q, descend(12)) / L
    for found in (every, some):
        assert abs(float(found.mean()) - truth) < 4 * float(found.std()) / math.sqrt(n)
    again = bound(denoiser, x0[7:9], descend(12), White().stream(seeds(1, n=9)[7:]), levels=3)
    torch.testing.assert_close(again, some[7:9], rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="descends from 12 to 0"):
        bound(denoiser, x0, [12, 5], White().stream(seeds(0, n=n)))


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("mixture", ["paper", "exact"])
def test_losses_and_gradients_are_finite_even_for_a_network_that_is_sure_and_wrong(
    name: str, mixture: Mixture
) -> None:
    q = chain(name, 10, mixture)
    never = K if q.K > K else None
    x0, t = torch.tensor([[0, 1], [2, 2], [1, 0]]), torch.tensor([1, 6, 10])
    for size in (1.0, 500.0):
        weights = torch.full((q.K,), -size)
        weights[0] = size
        weights.requires_grad_()
        denoiser = DiscreteDenoiser(
            lambda x, label: weights.expand(*x.shape, q.K),  # noqa: B023
            q,
            auxiliary=0.1,
            never=never,
        )
        loss = denoiser.loss(x0, t, White().stream([1, 2, 3]))
        loss.sum().backward()
        assert loss.isfinite().all()
        assert weights.grad is not None
        assert weights.grad.isfinite().all()
    with pytest.raises(ValueError, match="one logit for each"):
        DiscreteDenoiser(lambda x, label: torch.zeros(*x.shape, 2), q)(x0, 3)


def test_the_hybrid_loss_of_an_absorbing_chain_is_a_masked_language_model() -> None:
    q = chain("absorbing", 20, "paper")
    assert isinstance(q, RankOne)
    table = torch.randn(L, q.K, generator=torch.Generator().manual_seed(3))
    x0 = torch.tensor([[0, 1], [2, 2], [1, 0], [2, 1]])
    t = torch.tensor([3, 8, 14, 20])
    denoiser = DiscreteDenoiser(lambda x, label: table.expand(*x.shape, q.K), q, 0.25, never=K)
    loss = denoiser.loss(x0, t, White().stream([1, 2, 3, 4]))
    x = q.sample(x0, t, White().stream([1, 2, 3, 4]))
    nll = -table[:, :K].log_softmax(-1).expand(4, L, K).gather(-1, x0[..., None])[..., 0]
    wanted = (nll * (x == K)).mean(1) / t + 0.25 * nll.mean(1)  # 1 / t: the chance to be unmasked now
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)


MEASURE = """
import torch
from headwater.bench.peak_memory import peak_bytes
from headwater.core import descend, last, reverse
from headwater.noise import White
from headwater.discrete.process import absorbing, mask_and_replace, uniform
from headwater.discrete.denoiser import DiscreteDenoiser
from headwater.core.schedule import betas, reciprocal
from headwater.nets.text_transformer import TextTransformer, TextTransformerConfig
from headwater.sampling.run import Run
from headwater.training.discrete import fit_discrete
from headwater.training import TrainerConfig
K, T, L = 8192, 1000, 16
torch.set_num_threads(1)
peak = lambda: peak_bytes() / 2**20
before = peak()
free = torch.linspace(1, 0, T + 1, dtype=torch.float64)
for q in (absorbing(K, reciprocal(T), K - 1), uniform(K, betas("cosine_unsquared", T)),
          mask_and_replace(K, free * 0.9 ** (1 - free), free, K - 1, "exact")):
    network = TextTransformer(TextTransformerConfig(K, L, 32, 1, 2))
    denoiser = DiscreteDenoiser(network, q, auxiliary=0.01, never=q.mask)
    batch = lambda _, n: torch.randint(K - 1, (4, L), generator=torch.Generator().manual_seed(n))
    network = fit_discrete(denoiser, batch, 0, TrainerConfig(2, 4), Run(progress=False), {})
    noise = White().stream([0, 1])
    x = q.start(torch.zeros(2, L, dtype=torch.int64), noise)
    with torch.inference_mode():
        x = last(reverse(DiscreteDenoiser(network, q, never=q.mask), x, descend(T, 4), noise=noise))
    assert x.shape == (2, L) and (q.mask is None or (x != q.mask).all())
print(before, peak())
"""


def test_8192_categories_and_1000_levels_train_and_sample_in_a_gigabyte() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    before, peak = map(float, done.stdout.split())
    assert peak - before < 1024, f"{peak:.0f} MiB, {before:.0f} of them torch's own"
