"""CSDI on a Gaussian series of known conditionals: an ideal network must reach them through `apply`."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from headwater.data.series import Table
from headwater.data.windows import Scale
from headwater.methods.series.csdi.method import CSDI, Chain, FittedCSDI, ImputerConfig
from headwater.nets.csdi import CSDIConfig

Variant = Literal["input", "pasted"]
LENGTH, COLUMNS = 8, ("a", "b")
MEAN, STD = np.array([10.0, -3.0]), np.array([2.0, 0.5])
CHAIN = Chain(200, "quadratic", 1e-4, 0.1)


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

    def __init__(self, given: Variant) -> None:
        super().__init__()
        self.given, self.q = given, CHAIN.process()

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
def drawn(given: Variant) -> tuple[Tensor, Tensor, Tensor]:
    """Draws of the empty cells, normalised, and their true mean and covariance."""
    table, scale = gappy(), Scale(MEAN, STD, 1.0)
    normal = torch.from_numpy((table.values - MEAN) / STD).T.flatten()
    config = ImputerConfig(CSDIConfig(len(COLUMNS), given=given), COLUMNS, scale, LENGTH, CHAIN)
    method, fitted = CSDI(samples=600, given=given), FittedCSDI(Ideal(given), config)
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


def test_pasting_alone_does_not_reach_it() -> None:
    draws, mean, spread = drawn("pasted")
    conditional_draws = drawn("input")[0]
    miss = (draws.mean(0) - mean).square().mean()
    assert miss > 4 * (conditional_draws.mean(0) - mean).square().mean()
    assert float(draws.T.cov().diag().mean()) > 1.1 * float(spread.diag().mean())
