"""D3PM against the authors' code: bound, heads, bands, text chains, schedules.

Matrices and posteriors of three image chains are in test_discrete.py. The reference counts t from 0 where
level 1 is here, takes its prediction of x_0 for the posterior at t = 0, and adds 1e-6 inside logarithms:
`Leaky` does the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor
from torch.nn.functional import one_hot

from closed_form import F64, Uniforms
from headwater.core import Ancestral, Categorical, Prediction, descend, reverse
from headwater.core.schedule import betas, reciprocal
from headwater.discrete import Discrete, absorbing, uniform
from headwater.discrete.denoiser import bound_term, cross_entropy, prior_term
from headwater.discrete.information import betas as rates_of
from headwater.discrete.information import exponents, inverted, pchip, removed
from headwater.discrete.matrix_powers import MatrixPowers, nearest_neighbour, neighbour_rate
from headwater.discrete.process import Dense, band_diagonal, discretised_gaussian
from headwater.nets.categorical_unet import centred, logistic_logits

Load = Callable[[str], Any]
IMAGES = ["uniform", "absorbing", "gaussian", "gaussian_logistic", "band"]


def near(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.to(expected.dtype), expected, atol=atol, rtol=0)


def table(spec: dict[str, Any]) -> Tensor:
    T = spec["num_timesteps"]
    if spec["type"] == "linear":
        return betas("linear", T, start=spec["start"], end=spec["stop"])
    return betas("cosine_unsquared", T) if spec["type"] == "cosine" else reciprocal(T)


def chain(config: dict[str, Any]) -> Discrete:
    K, rates = 2 ** config["bits"], table(config["betas"])
    if config["mat"] == "absorbing":
        return absorbing(K, rates, mask=K // 2)
    if config["mat"] == "gaussian":
        return discretised_gaussian(K, rates, width=(K - 1) ** 2 / 255)
    return uniform(K, rates) if config["bands"] is None else band_diagonal(K, rates, config["bands"])


class Leaky:
    """A chain whose posterior carries the reference's constants and its own rule for the last step."""

    def __init__(self, q: Discrete) -> None:
        self.q, self.T = q, q.T

    def posterior(self, x: Tensor, x0: Tensor, t: Any, s: Any) -> Categorical:
        arrive = (self.q.column(x, s, t).float() + 1e-6).log()
        joint = arrive + (self.q.forward(x0.softmax(-1), 0, s) + 1e-6).log()
        inside = (torch.as_tensor(s).expand(len(x)) > 0).reshape(-1, *[1] * (joint.ndim - 1))
        return Categorical(torch.where(inside, joint, x0))


@pytest.fixture(params=IMAGES)
def images(request: pytest.FixtureRequest, golden: Load) -> tuple[Any, Discrete]:
    data = golden(f"d3pm/images_{request.param}")
    return data, chain(data.config)


def predicted(data: Any, K: int) -> Tensor:
    """What the reference's model says of x_0: plain logits or a logistic head around x_t."""
    if data.config["model_output"] == "logits":
        return data["in/logits"]
    return logistic_logits(data["in/loc"], data["in/log_scale"], K)


def as_stored(ours: Tensor, stored: Tensor) -> None:
    """Logits to 2e-5; near the reference's floor of 1e-6, which float32 rounded, masses to 1e-7."""
    torch.testing.assert_close(ours.exp(), stored.exp(), rtol=2e-5, atol=1e-7)


def test_bound_hybrid_loss_and_prior_term(images: tuple[Any, Discrete]) -> None:
    data, q = images
    x0, x, t = data["in/x_start"].long(), data["out/x_t"].long(), data["in/t"].long() + 1
    as_stored(predicted(data, q.K), data["out/pred_x_start_logits"])
    pred = Prediction(x, t, data["out/pred_x_start_logits"], t - 1.0)
    term = bound_term(Leaky(q), pred, x0, t - 1) / math.log(2)  # pyright: ignore[reportArgumentType]
    near(term, data["out/vb_terms_bpd"], 1e-5)
    entropy = cross_entropy(pred, x0) / math.log(2)
    near(entropy, data["out/cross_entropy_bpd"], 1e-5)
    near(term + data.config["coeff"] * entropy, data["out/hybrid_loss"], 1e-5)
    hot = one_hot(x0, q.K).double()
    stationary = one_hot(torch.tensor(q.K // 2), q.K) if data.config["mat"] == "absorbing" else 1 / q.K
    law = torch.as_tensor(stationary, dtype=F64).expand(q.K)
    reached = q.forward(hot, 0, q.T)
    leaky = (reached * ((reached + 1e-6).log() - (law + 1e-6).log())).sum(-1).flatten(1).mean(1) / math.log(2)
    near(leaky, data["out/prior_bpd"], 1e-5)
    near(prior_term(q, x0) / math.log(2), data["out/prior_bpd"].double(), 2e-4)  # without the constants


def test_matrices_and_walk_of_the_other_chains(images: tuple[Any, Discrete]) -> None:
    data, q = images
    eye = torch.eye(q.K, dtype=F64)
    for t in range(q.T):
        near(q.forward(eye, t, t + 1), data["out/q_onestep_mats"][t], 1e-12)
        near(q.forward(eye, 0, t + 1), data["out/q_mats"][t], 1e-12)
    weights, stored = data["in/table"], data["out/sample_trajectory"].long()

    def denoiser(x: Tensor, t: int, previous: Any = None) -> Prediction:
        return Prediction(x, t, weights[x] * (1 + 0.01 * (t - 1)), torch.zeros(len(x)))

    denoiser.process = Leaky(q)  # pyright: ignore[reportFunctionMemberAccess]
    draws = Uniforms(list(data.under("noise").values())[-q.T :])
    walk = reverse(denoiser, stored[0], descend(q.T)[:-1], Ancestral(), noise=draws)  # pyright: ignore
    for step, expected in zip(walk, stored[1:-1], strict=True):
        assert torch.equal(step.x, expected)
    assert torch.equal(weights[stored[-2]].argmax(-1), stored[-1])  # the last step draws no noise


def test_truncated_logistic_head(images: tuple[Any, Discrete]) -> None:
    data, q = images
    as_stored(logistic_logits(data["in/loc"], data["in/log_scale"], q.K), data["out/logistic_logits"])
    assert centred(torch.tensor([0, q.K - 1]), q.K).tolist() == [-1, 1]


@pytest.fixture
def text(golden: Load) -> Any:
    return golden("d3pm/text")


def columns(q: Discrete, s: int, t: int) -> Tensor:
    """Q_{s->t} as the text code stores it, columns from."""
    return q.forward(torch.eye(q.K, dtype=F64), s, t).T


@pytest.mark.parametrize("kind", ["mask", "uniform"])
@pytest.mark.parametrize("final", ["lastmask", "nolast"])
def test_mutual_information_chains(text: Any, kind: str, final: str) -> None:
    T, dim = text.config["steps"], text.config["dim"]
    K = dim + (kind == "mask")
    initial = torch.nn.functional.pad(text["in/initial_distribution"].double(), (0, K - dim))

    def matrix(a: Tensor) -> Tensor:
        keep = torch.exp(-a)
        target = (
            one_hot(torch.tensor(K - 1), K).double() if kind == "mask" else torch.full((K,), 1 / K).double()
        )
        return keep * torch.eye(K, dtype=F64) + (1 - keep) * target

    grid, gone = (text[f"out/{kind}_query_{v}"] for v in ("exponents", "info_removal"))
    near(torch.stack([removed(initial, matrix(a.double())) for a in grid]), gone, 2e-6)
    last = final == "lastmask"
    stored = text[f"out/{kind}_{final}_exponents"]
    found = exponents(T - last, initial, matrix)
    near(found, stored[: len(found)], 2e-5)
    near(inverted(T - last, grid.double(), gone.double()), stored[: len(found)], 2e-5)
    rates = rates_of(found)
    if kind == "mask" and last:
        near(rates, reciprocal(T)[:-1], 1e-4)  # the schedule of absorbing chains in closed form
    q = absorbing(K, rates, mask=K - 1) if kind == "mask" else uniform(K, rates)
    steps, whole = text[f"out/{kind}_{final}_get"], text[f"out/{kind}_{final}_qt"]
    for t in range(len(found) - 1):
        near(columns(q, t, t + 1), steps[t].double(), 1e-5)
        near(columns(q, 0, t + 1), whole[t + 1].double(), 1e-5)
    if last:  # the code then jumps to its last token, whatever the kind
        assert bool((whole[-1][-1] == 1).all())


def test_standard_schedules(text: Any) -> None:
    T = text.config["steps"]
    near(reciprocal(T), text["out/schedule_standard"], 1e-7)
    near(betas("cosine_unsquared", T), text["out/schedule_cosine"], 1e-6)


@pytest.mark.parametrize("kind", ["mask", "betadiag"])
def test_posteriors_of_text_chains(text: Any, kind: str) -> None:
    T, dim = text.config["steps"], text.config["dim"]
    q = (
        absorbing(dim + 1, reciprocal(T), dim)
        if kind == "mask"
        else uniform(dim, betas("cosine_unsquared", T))
    )
    for t in range(T - 1):  # the code overwrites its last entry
        near(columns(q, t, t + 1), text[f"out/{kind}_get"][t].double(), 1e-5)
        near(columns(q, 0, t + 1), text[f"out/{kind}_qt"][t + 1].double(), 1e-5)
    x0, x = text["in/x0"].long(), text["in/x_t_plus_1"].long().clamp(max=q.K - 1)
    soft = text["in/x0_logits"].softmax(-1)[:, : q.K].log()
    certain = one_hot(x0, q.K).float().log()
    for t in text.config["ts"]:
        for stride in (1, 2):
            for name, logits in (("", certain), ("_soft", soft)):
                stored = text[f"out/{kind}_posterior{name}_t{t}_s{stride}"]
                likelihood = (q.column(x[None], 0, t + stride)[0] * logits.exp()).sum(-1)
                possible = likelihood > 1e-12  # x_t+s was given, not drawn: some pairs cannot be
                ours = q.posterior(x[None], logits[None], t + stride, t).probs[0]
                near(ours[possible], stored[possible], 1e-5)


def graph_rate(embeddings: Tensor, neighbours: list[list[int]], k: int) -> Tensor:
    graph = torch.zeros(len(embeddings), len(embeddings), dtype=F64)
    for i, near_i in enumerate(neighbours):
        graph[i, near_i] = 1
    total = (graph + graph.T) / (2 * k)
    return total - total.sum(0).diag()


def test_graph_of_neighbours(text: Any) -> None:
    embeddings, k = text["in/embeddings"].double(), text.config["knn"]
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    order = torch.cdist(unit, unit).argsort(1)[:, 1 : k + 1].tolist()
    near(neighbour_rate(embeddings, k), graph_rate(unit, order, k), 1e-12)
    # The reference works in chunks of 3 rows; the last chunk, of 2 of the 11, reads the rows before its own.
    slipped = [*order[:9], order[8], order[9]]
    near(graph_rate(unit, slipped, k), text["out/nn_rate"].double(), 1e-6)


def test_nearest_neighbours(text: Any) -> None:
    T, dim = text.config["steps"], text.config["dim"]
    rate = text["out/nn_rate"].double().fill_diagonal_(0)
    rate -= rate.sum(0).diag()  # stored in float32, columns sum to 1e-8: large exponents would tell
    initial = text["in/initial_distribution"].double()
    grid, gone = text["out/nn_query_exponents"].double(), text["out/nn_query_info_removal"].double()
    few = slice(None, None, 7)
    ours = torch.stack([removed(initial, torch.linalg.matrix_exp(a * rate)) for a in grid[few]])
    near(ours, gone[few], 2e-5)
    found = inverted(T, grid, gone)
    near(found[1], text["out/nn_min_exponent"], 1e-6)
    q = nearest_neighbour(rate, found)
    assert torch.equal(q.powers, text["out/nn_powers"].long())
    near(q.base, text["out/nn_base"], 1e-6)  # the smallest exponent was found in float32 there
    exact = MatrixPowers(text["out/nn_base"].T.contiguous(), text["out/nn_powers"].long())
    for t in range(T):
        near(columns(exact, t, t + 1), text["out/nn_get"][t].double(), 1e-5)
        near(columns(exact, 0, t + 1), text["out/nn_qt"][t + 1].double(), 1e-5)
    near(q.prior, torch.full((dim,), 1 / dim, dtype=F64), 1e-7)


def test_powers_are_the_dense_chain(text: Any) -> None:
    base, powers = text["out/nn_base"].T.contiguous(), text["out/nn_powers"].long()
    steps = [torch.linalg.matrix_power(base, int(n)) for n in powers.diff()]
    q, dense = MatrixPowers(base, powers), Dense(torch.stack(steps))
    generator = torch.Generator().manual_seed(0)
    x, logits = torch.randint(q.K, (3, 5), generator=generator), torch.randn(3, 5, q.K, generator=generator)
    t, s = torch.tensor([16, 7, 1]), torch.tensor([3, 6, 0])
    near(q.posterior(x, logits.double(), t, s).probs, dense.posterior(x, logits.double(), t, s).probs, 1e-12)
    near(q.prior, dense.prior, 1e-12)


def test_interpolation_is_scipys() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(20, dtype=F64, generator=generator).cumsum(0)
    y = torch.randn(20, dtype=F64, generator=generator)
    at = torch.linspace(float(x[0]), float(x[-1]), 101, dtype=F64)
    near(pchip(x, y, at), torch.from_numpy(PchipInterpolator(x.numpy(), y.numpy())(at.numpy())), 1e-12)
