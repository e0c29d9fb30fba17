"""Chains whose steps are powers of one matrix: walks on a graph of neighbours (Austin et al. 2021, A.2.4)."""

# torch's own annotations are only partly known.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headwater.core.transition import Level
from headwater.discrete.process import Discrete, Mixture


@dataclass(frozen=True, eq=False)
class MatrixPowers(Discrete):
    """Q_{s->t} = base ^ (powers[t] - powers[s]).

    base: (K, K) float64, rows from, columns to. powers: (T+1,) int64 from 0 upwards. Powers of two of the
    base are kept, 8 K^2 log2(powers[T]) bytes, and applied one after another: T costs nothing.
    """

    base: Tensor
    powers: Tensor
    mixture: Mixture = "paper"

    @property
    def T(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.powers) - 1

    @property
    def K(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.base)

    @cached_property
    def _squares(self) -> list[Tensor]:
        squares = [self.base.double()]
        while 2 ** len(squares) <= int(self.powers[-1]):
            squares.append(squares[-1] @ squares[-1])
        return squares

    def _carried(self, rows: Tensor, s: Level, t: Level, against: bool) -> Tensor:
        """rows @ Q, or rows @ Q' when `against` the arrow of time; rows (B, ..., K)."""
        power = self.powers[torch.as_tensor(t).cpu()] - self.powers[torch.as_tensor(s).cpu()]
        power = power.reshape(-1, *[1] * (rows.ndim - 1)).to(rows.device)
        for k, square in enumerate(self._squares):
            bit = (power >> k) & 1
            if bool(bit.any()):
                step = (square.T if against else square).to(rows)
                rows = torch.where(bit.bool(), rows @ step, rows)
        return rows

    def forward(self, probs: Tensor, s: Level, t: Level) -> Tensor:
        return self._carried(probs, s, t, against=False)

    def column(self, x: Tensor, s: Level, t: Level) -> Tensor:
        return self._carried(self._onehot(x).double(), s, t, against=True)

    @property
    def prior(self) -> Tensor:
        return self.forward(torch.full((1, self.K), 1 / self.K, dtype=torch.float64), 0, self.T)[0]


def neighbour_rate(embeddings: Tensor, neighbours: int) -> Tensor:
    """Rate matrix (K, K) float64 of a walk on the graph of nearest neighbours in angle, made symmetric.

    embeddings (K, D); A = (G + G') / (2 neighbours), the rate is A less its column sums on the diagonal. Its
    exponentials are doubly stochastic. Raises ValueError unless 1 <= neighbours < K.
    """
    K = len(embeddings)
    if not 1 <= neighbours < K:
        raise ValueError(f"{K} categories have 1 to {K - 1} neighbours each, got {neighbours}")
    unit = embeddings.double() / embeddings.double().norm(dim=-1, keepdim=True).clamp(min=1e-30)
    angle = (unit @ unit.T).fill_diagonal_(-torch.inf)
    graph = torch.zeros(K, K, dtype=torch.float64)
    graph.scatter_(1, angle.topk(neighbours, dim=1).indices, 1.0)
    rate = (graph + graph.T) / (2 * neighbours)
    return rate - rate.sum(0).diag()


def nearest_neighbour(rate: Tensor, exponents: Tensor, mixture: Mixture = "paper") -> MatrixPowers:
    """Q_{0->t} = exp(exponents[t] rate), each exponent rounded to a multiple of the smallest.

    exponents: (T+1,) float64 from 0 upwards, as `information.exponents` finds them.
    """
    smallest = exponents[1:].min().double()
    powers = (exponents.double() / smallest).round().long()
    return MatrixPowers(torch.linalg.matrix_exp(smallest * rate.double()), powers, mixture)
