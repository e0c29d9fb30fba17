"""A network over categories: what it predicts, what it is trained on, and the bound that it reaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from headwater.core.prediction import Denoises, Network, Prediction, labels
from headwater.core.transition import Level, NoiseSource, uniform_of
from headwater.discrete.categorical import Categorical
from headwater.discrete.process import Discrete


@dataclass(frozen=True, eq=False)
class DiscreteDenoiser:
    """network(x int64 (B, ...), label (B,), **cond) -> logits of x_0, (B, ..., K) (Austin et al. 2021).

    The label of level t is t - 1, as for Gaussian chains.

    auxiliary: weight lambda of the cross entropy beside the bound in `loss` (eq. 5).
    never: a category that clean data never holds, such as the mask of a text; its logit becomes -inf.
    """

    network: Network
    process: Discrete
    auxiliary: float = 0.0
    never: int | None = None

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        """Logits of x_0 from x (B, ...) at level t. Raises ValueError for logits of another shape."""
        label = labels(self.process.label, t, x)
        logits = self.network(x, label, **cond)
        if logits.shape != (*x.shape, self.process.K):
            raise ValueError(
                f"the network answered {tuple(logits.shape)} to {tuple(x.shape)}: one logit for each of the "
                f"{self.process.K} categories is wanted"
            )
        if self.never is not None:
            logits = logits.index_fill(-1, torch.tensor(self.never, device=x.device), -torch.inf)
        return Prediction(x, t, logits, label)

    def loss(self, x0: Tensor, t: Level, noise: NoiseSource, **cond: Any) -> Tensor:
        """L_vb's term at t plus `auxiliary` times the cross entropy, nats per position, (B,).

        x0 (B, ...) int64; t from 1, one level or (B,). The bound is T times the mean of its terms over t,
        plus `prior_term`.
        """
        pred = self(self.process.sample(x0, t, noise), t, **cond)
        term = bound_term(self.process, pred, x0, t - 1)
        return term if self.auxiliary == 0 else term + self.auxiliary * cross_entropy(pred, x0)


def bound_term(q: Discrete, pred: Prediction, x0: Tensor, s: Level) -> Tensor:
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)), nats per position, (B,); at s = 0 this is -ln p(x_0 | x_t).

    Any s below pred.t: skipped levels have a bound of their own.
    """
    certain = torch.full_like(pred.x0, -torch.inf).scatter_(-1, x0.unsqueeze(-1), 0.0)
    true = q.posterior(pred.x, certain, pred.t, s)
    return divergence(true, q.posterior(pred.x, pred.x0, pred.t, s)).flatten(1).mean(1)


def cross_entropy(pred: Prediction, x0: Tensor) -> Tensor:
    """-ln p(x_0 | x_t) as the network says it, nats per position, (B,)."""
    picked = pred.x0.log_softmax(-1).gather(-1, x0.unsqueeze(-1))
    return -picked.flatten(1).mean(1)


def prior_term(q: Discrete, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x_0) || p(x_T)), nats per position, (B,) float64: no network has a say in it."""
    hot = torch.nn.functional.one_hot(x0, q.K).double()
    reached = Categorical(q.forward(hot, 0, q.T).log())
    return divergence(reached, Categorical(q.prior.log().to(x0.device))).flatten(1).mean(1)


def divergence(p: Categorical, q: Categorical) -> Tensor:
    """KL(p || q) in nats, (...); infinite where q rules out what p allows."""
    log_p, log_q = p.logits.log_softmax(-1), q.logits.log_softmax(-1)
    held = log_p > -torch.inf
    return torch.where(held, log_p.exp() * (log_p - log_q), 0).sum(-1)


def bound(
    denoiser: Denoises,
    x0: Tensor,
    plan: Sequence[int],
    noise: NoiseSource,
    levels: int | None = None,
    **cond: Any,
) -> Tensor:
    """-ln p(x_0) at most, by a walk along `plan`: nats per position, (B,) float64, unbiased in what it draws.

    x0 (B, ...) int64; plan descends from T to 0, with every level or with some skipped. `levels` steps of it
    are evaluated, one drawn at random from each of so many even strata; None takes all. Each needs one
    network call. `noise` needs uniform draws.

    Raises ValueError for a plan that is not such.
    """
    q = denoiser.process
    steps = list(pairwise(plan))
    if not steps or plan[0] != q.T or plan[-1] != 0 or any(s >= t for t, s in steps):
        raise ValueError(f"a bound needs a plan that descends from {q.T} to 0")
    total = prior_term(q, x0.cpu()).to(x0.device)
    n = len(steps) if levels is None else min(levels, len(steps))
    table = torch.tensor(steps)
    for i in range(n):
        first, stop = i * len(steps) // n, (i + 1) * len(steps) // n
        if stop - first == 1:
            t, s = steps[first]
        else:  # every sample draws a step of its own
            like = torch.empty(len(x0), 1, dtype=torch.float64)
            drawn = uniform_of(noise)(like)
            rows = first + (drawn[:, 0] * (stop - first)).long().clamp(max=stop - first - 1)
            t, s = table[rows].unbind(1)
        pred = denoiser(q.sample(x0, t, noise), t, **cond)
        total = total + (stop - first) * bound_term(q, pred, x0, s).double()
    return total


def bits(nats: Tensor) -> Tensor:
    """Nats as bits."""
    return nats / math.log(2)
