"""The mutual-information schedule: levels that forget the data at an even pace (Austin et al. 2021, A.7)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def removed(initial: Tensor, matrix: Tensor) -> Tensor:
    """H(x_0 | x_t) / H(x_0), a scalar from 0 (all known) to 1 (all forgotten).

    initial: (K,) law of x_0. matrix: (K, K') q(x_t | x_0), rows from.
    """
    joint = initial.double()[:, None] * matrix.double()
    return (entropy(joint) - entropy(joint.sum(0))) / entropy(initial.double())


def entropy(probs: Tensor) -> Tensor:
    """In nats, over all entries."""
    return -torch.xlogy(probs, probs).sum()


def exponents(
    T: int,
    initial: Tensor,
    matrix: Callable[[Tensor], Tensor],
    low: float = 1e-4,
    high: float = 1e5,
    points: int = 128,
) -> Tensor:
    """Cumulative exponents a_0 = 0 < a_1 ... a_T at which t / (T + 1) of the information is removed.

    matrix(a) is q(x_t | x_0) as (K, K) after exponent a; it is evaluated at `points` exponents in geometric
    progression and the curve inverted by monotone cubic interpolation. Returns (T+1,) float64.
    """
    grid = torch.logspace(math.log10(low), math.log10(high), points, dtype=torch.float64)
    return inverted(T, grid, torch.stack([removed(initial, matrix(a)) for a in grid]))


def inverted(T: int, grid: Tensor, gone: Tensor) -> Tensor:
    """The same from samples: grid (N,) exponents and the information `gone` at each."""
    order = grid.argsort()
    grid, gone = grid[order].double(), gone[order].double()
    zero = grid.new_zeros(1)
    xs, ys = torch.cat([zero, gone]), torch.cat([zero, grid])
    highest = torch.cat([zero - 1, xs.cummax(0).values[:-1]])
    rising = xs > highest  # rounding makes the ends flat
    wanted = torch.linspace(0, 1, T + 2, dtype=torch.float64)[1:-1]
    return torch.cat([zero, pchip(xs[rising], ys[rising], wanted)])


def stepwise(T: int, initial: Tensor, step: Callable[[float], Tensor]) -> list[float]:
    """Rates of T one-step matrices (K, K) `step(rate)`, at which t / T of the information is gone after t
    steps, for any chain that forgets more at a higher rate.

    Found one after another by halving on a logarithmic scale from 1e-6 to 1e6. Where a chain cannot forget
    that much in one step, the rate is the highest; so is the last, which leaves nothing. (`exponents` leaves
    1 / (T + 1), as the authors' code does: the bound then pays for it.)
    """
    total, rates = torch.eye(len(initial), dtype=torch.float64), list[float]()
    for t in range(1, T + 1):
        low, high = math.log(1e-6), math.log(1e6)
        for _ in range(40):
            middle = (low + high) / 2
            gone = removed(initial, total @ step(math.exp(middle)))
            low, high = (middle, high) if gone < t / T else (low, middle)
        rates.append(math.exp((low + high) / 2))
        total = total @ step(rates[-1])
    return rates


def betas(cumulative: Tensor) -> Tensor:
    """One-step probabilities (T,) of a chain that is left alone with probability exp(-cumulative[t])."""
    return -torch.expm1(-cumulative.diff())


def pchip(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Monotone piecewise cubic Hermite interpolation of y(x) (Fritsch & Butland 1984); x rises strictly."""
    h, slope = x.diff(), y.diff() / x.diff()
    left, right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    same = slope[1:] * slope[:-1] > 0
    mean = (left + right) / (left / slope[:-1].where(same, 1) + right / slope[1:].where(same, 1))
    inner = mean.where(same, 0)
    first = _end(h[0], h[1], slope[0], slope[1])
    final = _end(h[-1], h[-2], slope[-1], slope[-2])
    d = torch.cat([first[None], inner, final[None]])
    i = (torch.searchsorted(x, at, right=True) - 1).clamp(0, len(h) - 1)
    u = (at - x[i]) / h[i]
    rise = (3 - 2 * u) * u**2
    bends = h[i] * u * (u - 1) * ((u - 1) * d[i] + u * d[i + 1])
    return y[i] * (1 - rise) + y[i + 1] * rise + bends


def _end(h0: Tensor, h1: Tensor, m0: Tensor, m1: Tensor) -> Tensor:
    """Slope at an end from three points, kept from overshooting."""
    d = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    if bool(d.sign() != m0.sign()):
        return torch.zeros_like(d)
    if bool((m0.sign() != m1.sign()) & (d.abs() > 3 * m0.abs())):
        return 3 * m0
    return d
