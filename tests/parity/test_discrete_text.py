"""Information schedules and chains of matrix powers against D3PM's code for texts, which counts t from 0
where 1 is here.

Its image chains, bound and loss are compared in test_discrete.py, the chains of texts in the method's room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor
from torch.nn.functional import one_hot

from arrays import close
from closed_form import F64
from headwater.core.schedule import reciprocal
from headwater.discrete import Discrete, absorbing, uniform
from headwater.discrete.information import betas as rates_of
from headwater.discrete.information import exponents, inverted, pchip, removed
from headwater.discrete.matrix_powers import MatrixPowers, nearest_neighbour, neighbour_rate
from headwater.discrete.process import Dense

Load = Callable[[str], Any]


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
    close(torch.stack([removed(initial, matrix(a.double())) for a in grid]), gone, 2e-6)
    last = final == "lastmask"
    stored = text[f"out/{kind}_{final}_exponents"]
    found = exponents(T - last, initial, matrix)
    close(found, stored[: len(found)], 2e-5)
    close(inverted(T - last, grid.double(), gone.double()), stored[: len(found)], 2e-5)
    rates = rates_of(found)
    if kind == "mask" and last:
        close(rates, reciprocal(T)[:-1], 1e-4)  # the schedule of absorbing chains in closed form
    q = absorbing(K, rates, mask=K - 1) if kind == "mask" else uniform(K, rates)
    steps, whole = text[f"out/{kind}_{final}_get"], text[f"out/{kind}_{final}_qt"]
    for t in range(len(found) - 1):
        close(columns(q, t, t + 1), steps[t].double(), 1e-5)
        close(columns(q, 0, t + 1), whole[t + 1].double(), 1e-5)
    if last:  # the code then jumps to its last token, whatever the kind
        assert bool((whole[-1][-1] == 1).all())


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
    close(neighbour_rate(embeddings, k), graph_rate(unit, order, k), 1e-12)
    # The reference works in chunks of 3 rows; the last chunk, of 2 of the 11, reads the rows before its own.
    slipped = [*order[:9], order[8], order[9]]
    close(graph_rate(unit, slipped, k), text["out/nn_rate"].double(), 1e-6)


def test_nearest_neighbours(text: Any) -> None:
    T, dim = text.config["steps"], text.config["dim"]
    rate = text["out/nn_rate"].double().fill_diagonal_(0)
    rate -= rate.sum(0).diag()  # stored in float32, columns sum to 1e-8: large exponents would tell
    initial = text["in/initial_distribution"].double()
    grid, gone = text["out/nn_query_exponents"].double(), text["out/nn_query_info_removal"].double()
    few = slice(None, None, 7)
    ours = torch.stack([removed(initial, torch.linalg.matrix_exp(a * rate)) for a in grid[few]])
    close(ours, gone[few], 2e-5)
    found = inverted(T, grid, gone)
    close(found[1], text["out/nn_min_exponent"], 1e-6)
    q = nearest_neighbour(rate, found)
    assert torch.equal(q.powers, text["out/nn_powers"].long())
    close(q.base, text["out/nn_base"], 1e-6)  # the smallest exponent was found in float32 there
    exact = MatrixPowers(text["out/nn_base"].T.contiguous(), text["out/nn_powers"].long())
    for t in range(T):
        close(columns(exact, t, t + 1), text["out/nn_get"][t].double(), 1e-5)
        close(columns(exact, 0, t + 1), text["out/nn_qt"][t + 1].double(), 1e-5)
    close(q.prior, torch.full((dim,), 1 / dim, dtype=F64), 1e-7)


def test_powers_are_the_dense_chain(text: Any) -> None:
    base, powers = text["out/nn_base"].T.contiguous(), text["out/nn_powers"].long()
    steps = [torch.linalg.matrix_power(base, int(n)) for n in powers.diff()]
    q, dense = MatrixPowers(base, powers), Dense(torch.stack(steps))
    generator = torch.Generator().manual_seed(0)
    x, logits = torch.randint(q.K, (3, 5), generator=generator), torch.randn(3, 5, q.K, generator=generator)
    t, s = torch.tensor([16, 7, 1]), torch.tensor([3, 6, 0])
    close(q.posterior(x, logits.double(), t, s).probs, dense.posterior(x, logits.double(), t, s).probs, 1e-12)
    close(q.prior, dense.prior, 1e-12)


def test_interpolation_is_scipys() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(20, dtype=F64, generator=generator).cumsum(0)
    y = torch.randn(20, dtype=F64, generator=generator)
    at = torch.linspace(float(x[0]), float(x[-1]), 101, dtype=F64)
    close(pchip(x, y, at), torch.from_numpy(PchipInterpolator(x.numpy(), y.numpy())(at.numpy())), 1e-12)
