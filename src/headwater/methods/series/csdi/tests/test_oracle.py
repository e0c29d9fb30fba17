"""CSDI on a Gaussian series of known conditionals: an ideal network must reach them through `apply`."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from headwater.cli.options import fill, read_options
from headwater.data.series import Table
from headwater.data.windows import Scale
from headwater.gallery import run_folder
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI, ImputerConfig
from headwater.nets.csdi import CSDIConfig
from headwater.sampling import SamplerName

Variant = Literal["input", "pasted"]
Walk = tuple[Chain, SamplerName, int | None]
LENGTH, COLUMNS = 8, ("a", "b")
MEAN, STD = np.array([10.0, -3.0]), np.array([2.0, 0.5])
FINE: Walk = Chain(200, "quadratic", 1e-4, 0.1), "ancestral", None
PAPER: Walk = Chain(), "ancestral", None


def covariance() -> Tensor:
    """AR(1) in time with coefficient 0.8, columns correlated by 0.6; cells in the order (K, L)."""
    time = 0.8 ** (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs().double()
    return torch.kron(torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64), time)


def conditional(known: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the unknown cells given the known ones; known, values (K L,)."""
    full = covariance()
    gain = full[~known][:, known] @ torch.linalg.inv(full[known][:, known])
    return gain @ values[known], full[~known][:, ~known] - gain @ full[known][:, ~known]


class Ideal(nn.Module):
    """E[noise | x_t, given cells], in closed form; without the given cells for the pasted variant."""

    def __init__(self, given: Variant, chain: Chain) -> None:
        super().__init__()
        self.given, self.q = given, chain.process()

    def side(self, times: Tensor, known: Tensor) -> list[Tensor]:
        return []

    def forward(self, x: Tensor, label: Tensor, side: Any, given: Tensor, known: Tensor) -> Tensor:
        a, b = self.q.scales(int(label[0]) + 1)
        flat, seen = x.flatten(1).double(), known[0].flatten() & (self.given == "input")
        mean, spread = conditional(seen, given[0].flatten().double())
        pull = a * spread @ torch.linalg.inv(a * a * spread + b * b * torch.eye(len(spread)))
        eps = torch.zeros_like(flat)
        free = flat[:, ~seen]
        eps[:, ~seen] = (free - a * (mean + (free - a * mean) @ pull.T)) / b
        return eps.view_as(x).to(x.dtype)


def gappy() -> Table:
    generator = torch.Generator().manual_seed(3)
    white = torch.randn(2 * LENGTH, generator=generator, dtype=torch.float64)
    values = (torch.linalg.cholesky(covariance()) @ white).view(2, LENGTH).T.numpy() * STD + MEAN
    values[2:6, 0] = np.nan
    values[5:, 1] = np.nan
    return Table(values, np.arange(LENGTH, dtype=np.float64), COLUMNS)


@cache
def drawn(given: Variant, walk: Walk = FINE) -> tuple[Tensor, Tensor, Tensor]:
    """Draws of the empty cells, normalised, and their true mean and covariance."""
    table, scale = gappy(), Scale(MEAN, STD, 1.0)
    normal = torch.from_numpy((table.values - MEAN) / STD).T.flatten()
    chain, sampler, steps = walk
    config = ImputerConfig(CSDIConfig(len(COLUMNS), given=given), COLUMNS, scale, LENGTH, chain)
    method = CSDI(samples=600, given=given, sampler=sampler, steps=steps)
    fitted = FittedCSDI(Ideal(given, chain), config)
    result = method.apply([table], fitted, seed=1, batch_size=600, progress=False)
    cells = np.argwhere(np.isnan(table.values))
    scaled = (result.samples[0] - MEAN[cells[:, 1]]) / STD[cells[:, 1]]
    order = np.lexsort((cells[:, 0], cells[:, 1]))  # (L, K) row by row -> (K, L)
    return torch.from_numpy(scaled[:, order]).double(), *conditional(normal.isfinite(), normal.nan_to_num())


def test_draws_follow_the_conditional_distribution() -> None:
    draws, mean, spread = drawn("input")
    error = spread.diag().sqrt() / len(draws) ** 0.5
    assert bool(((draws.mean(0) - mean).abs() < 4 * error).all())
    # The standard error of a covariance of n draws is at most sqrt(2 / n) = 0.058 times the variances.
    assert float((draws.T.cov() - spread).abs().max()) < 4 * (2 / len(draws)) ** 0.5 * float(spread.max())


def shipped() -> Walk:
    """The walk of what ships."""
    folder = run_folder("csdi-air-0")
    record: Any = read_options(folder / "run.yaml")["method"]
    method = fill(CSDI, record, "run.yaml")
    return FittedCSDI.from_pretrained(folder).config.chain, method.sampler, method.steps


def deviations(walk: Walk) -> float:
    """Mean deviation of the draws over the true one."""
    draws, _, spread = drawn("input", walk)
    return float((draws.std(0) / spread.diag().sqrt()).mean())


def test_the_default_walk_has_the_right_deviation_and_the_papers_has_not() -> None:
    """On the chain that ships, 600 draws: the error of one deviation is 3 %, of their mean below."""
    draws, mean, spread = drawn("input", shipped())
    assert bool(((draws.mean(0) - mean).abs() < 4 * spread.diag().sqrt() / len(draws) ** 0.5).all())
    assert float((draws.T.cov() - spread).abs().max()) < 4 * (2 / len(draws)) ** 0.5 * float(spread.max())
    assert abs(deviations(shipped()) - 1) < 0.04
    assert abs(deviations((CSDI().chain, CSDI().sampler, CSDI().steps)) - 1) < 0.04
    assert deviations(PAPER) < 0.97
    assert deviations((Chain(), "ancestral", 25)) < 0.93


def test_a_solver_keeps_what_is_pasted() -> None:
    """The estimate holds the given cells: pasting with one noise does not reach the conditional either."""
    draws, mean, _ = drawn("pasted", shipped())
    assert bool(draws.isfinite().all())
    assert (draws.mean(0) - mean).square().mean() > (
        drawn("input", shipped())[0].mean(0) - mean
    ).square().mean()


def test_pasting_alone_does_not_reach_it() -> None:
    draws, mean, spread = drawn("pasted")
    conditional_draws = drawn("input")[0]
    miss = (draws.mean(0) - mean).square().mean()
    assert miss > 4 * (conditional_draws.mean(0) - mean).square().mean()
    assert float(draws.T.cov().diag().mean()) > 1.1 * float(spread.diag().mean())
