"""Discrete processes: x_t ~ Cat(x_0 Q_1 ... Q_t) over K categories (Austin et al. 2021).

States are int64 tensors of any shape (B, ...); probabilities carry K as their last axis. Uniform, absorbing
and mask-and-replace chains have closed forms between any two levels: no K x K matrix is ever built for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from headwater.core.transition import Level, NoiseSource, uniform_of
from headwater.discrete.categorical import Categorical, inverted

Mixture = Literal["paper", "exact"]
"""How `posterior` averages over a predicted x_0. `paper` (eq. 4) weighs q(x_s, x_t | x_0) by p(x_0 | x_t);
`exact` first divides by q(x_t | x_0), which makes the reverse step Bayes' own for a perfect network.
The two agree only where q(x_t | x_0) does not depend on x_0."""

_LEAST = 1e-30
"""Smallest probability of a possible x_0: the products with q must stay above float32's smallest number."""


class Discrete(ABC):
    """A Markov chain over categories. Subclasses give its transitions between any two levels."""

    K: int
    T: int
    mixture: Mixture

    @property
    def label(self) -> Tensor:
        """What the network is told at each level, (T+1,) float64: t - 1, as for a Gaussian chain."""
        return (torch.arange(self.T + 1, dtype=torch.float64) - 1).clamp(min=0)

    @abstractmethod
    def forward(self, probs: Tensor, s: Level, t: Level) -> Tensor:
        """probs @ Q_{s->t}: carry a distribution (B, ..., K) from level s up to t >= s."""

    @abstractmethod
    def column(self, x: Tensor, s: Level, t: Level) -> Tensor:
        """q(x_t = x | x_s = k) for every k: (B, ...) -> (B, ..., K)."""

    @property
    @abstractmethod
    def prior(self) -> Tensor:
        """The law p(x_T) that walks start from, (K,) float64: q(x_T | x_0) averaged over all x_0 evenly."""

    def start(self, like: Tensor, noise: NoiseSource) -> Tensor:
        """A draw of x_T in the shape of `like`."""
        total = self.prior.cumsum(0).to(like.device, torch.float32)
        return inverted(total, uniform_of(noise)(torch.empty(like.shape, device=like.device)))

    def sample(self, x0: Tensor, t: Level, noise: NoiseSource) -> Tensor:
        """A draw of q(x_t | x_0), (B, ...) int64."""
        return self.advance(x0, 0, t, noise)

    def advance(self, x: Tensor, s: Level, t: Level, noise: NoiseSource) -> Tensor:
        """A draw of q(x_t | x_s), (B, ...) int64."""
        return Categorical(self.forward(self._onehot(x), s, t).log()).sample(noise, t)

    def posterior(self, x: Tensor, x0: Tensor, t: Level, s: Level) -> Categorical:
        """q(x_s | x_t, x_0) averaged over logits x0 (B, ..., K), by this chain's `mixture`.

        A certain x_0 (logits 0 at one category, -inf elsewhere) gives the true posterior under both mixtures.
        Differentiable in x0; a finite logit counts as a probability of at least 1e-30, so no state is left
        without a successor.
        """
        # In place where autograd allows it: K may be 8,192, and each copy is as large as the logits.
        weights = x0.softmax(-1).clamp(min=_LEAST).masked_fill_(x0 == -torch.inf, 0)
        if self.mixture == "exact":
            likelihood = self.column(x, 0, t).to(weights)
            possible = likelihood > 0  # else x_0 is ruled out by x
            weights = torch.where(possible, weights / likelihood.where(possible, 1), 0)
            weights = weights / weights.sum(-1, keepdim=True)
        column, reached = self.column(x, s, t).to(weights), self.forward(weights, 0, s)
        impossible = (column <= 0) | (reached <= 0)  # such a state must not send NaN back as a gradient
        # Logarithms are added: the product of two small probabilities may be 0 in float32.
        joint = reached.masked_fill(impossible, 1).log() + column.masked_fill(impossible, 1).log_()
        return Categorical(joint.masked_fill_(impossible, -torch.inf))

    def _onehot(self, x: Tensor) -> Tensor:
        return F.one_hot(x, self.K).float()


@dataclass(frozen=True, eq=False)
class RankOne(Discrete):
    """Q_{s->t} = a I + b 1 u' among free categories + c 1 m' into a mask, which absorbs.

    The closed form behind `uniform`, `absorbing` and `mask_and_replace`. keep[t] is the probability that a
    category was never touched up to level t, free[t] that it was not masked; both (T+1,) float64 from 1.
    mask: the absorbing category, or None. It is one of the K.
    """

    K: int
    keep: Tensor
    free: Tensor
    mask: int | None = None
    mixture: Mixture = "paper"

    @property
    def T(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.keep) - 1

    def _rates(self, s: Level, t: Level, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities from s to t: untouched, replaced by one given free category, masked."""
        keep, free = (
            self.keep[t] / self.keep[s].clamp(min=1e-300),
            self.free[t] / self.free[s].clamp(min=1e-300),
        )
        targets = self.K - (self.mask is not None)
        rates = (keep, (free - keep).clamp(min=0) / targets, 1 - free)
        kind = torch.float64 if like.dtype == torch.float64 else torch.float32
        a, b, c = (
            r.to(like.device, kind).reshape(-1, *[1] * (like.ndim - 1)) if r.ndim else r.to(kind)
            for r in rates
        )
        return a, b, c

    def forward(self, probs: Tensor, s: Level, t: Level) -> Tensor:
        a, b, c = self._rates(s, t, probs)
        if self.mask is None:
            return a * probs + b * probs.sum(-1, keepdim=True)
        masked = probs[..., self.mask : self.mask + 1]
        loose = probs.sum(-1, keepdim=True) - masked
        out = a * probs + b * loose
        out[..., self.mask : self.mask + 1] = masked + c * loose
        return out

    def advance(self, x: Tensor, s: Level, t: Level, noise: NoiseSource) -> Tensor:
        """A draw of q(x_t | x_s), (B, ...) int64, from two uniforms each, whatever K is."""
        fate, target = uniform_of(noise)(torch.empty(*x.shape, 2, device=x.device)).unbind(-1)
        keep, _, masked = self._rates(s, t, fate.unsqueeze(-1))
        keep, masked = (r.squeeze(-1) if r.ndim else r for r in (keep, masked))
        free = self.K - (self.mask is not None)
        other = (target * free).long().clamp(max=free - 1)
        if self.mask is not None:
            other = other + (other >= self.mask)
            other = torch.where(fate >= 1 - masked, self.mask, other)
        # What is not kept and not masked is replaced, also by itself.
        return torch.where((fate < keep) | (x == (-1 if self.mask is None else self.mask)), x, other)

    def column(self, x: Tensor, s: Level, t: Level) -> Tensor:
        hot = self._onehot(x).to(torch.float64 if self.K <= 512 else torch.float32)
        a, b, c = self._rates(s, t, hot)
        if self.mask is None:
            return a * hot + b
        is_mask = (x == self.mask).unsqueeze(-1)
        out = torch.where(is_mask, c.expand_as(hot), a * hot + b)
        out[..., self.mask : self.mask + 1] = is_mask.to(out)  # once masked, always masked
        return out

    @property
    def prior(self) -> Tensor:
        even = torch.ones(self.K, dtype=torch.float64)
        if self.mask is not None:
            even[self.mask] = 0
        return self.forward(even / even.sum(), 0, self.T)

    def start(self, like: Tensor, noise: NoiseSource) -> Tensor:
        if self.mask is not None and self.free[-1] < 1e-6:
            return torch.full_like(like, self.mask)
        return super().start(like, noise)


def uniform(K: int, betas: Tensor, mixture: Mixture = "paper") -> RankOne:
    """Q_t = (1 - beta_t) I + beta_t 1 1' / K (Austin et al. 2021, A.2.1). `betas` is (T,)."""
    keep = _survival(betas)
    return RankOne(K, keep, torch.ones_like(keep), None, mixture)


def absorbing(K: int, betas: Tensor, mask: int, mixture: Mixture = "paper") -> RankOne:
    """Each category turns into `mask` with probability beta_t (A.2.2); betas 1/(T-t+1) mask linearly."""
    keep = _survival(betas)
    return RankOne(K, keep, keep, _category(mask, K), mixture)


def mask_and_replace(K: int, keep: Tensor, free: Tensor, mask: int, mixture: Mixture = "paper") -> RankOne:
    """VQ-Diffusion's chain: untouched with probability keep[t], masked with 1 - free[t], else replaced.

    keep and free are cumulative tables (T+1,) float64 from 1 downwards, keep <= free (Gu et al. 2022, eq. 8).
    """
    if bool((keep > free).any()):
        raise ValueError("a category cannot be untouched more often than unmasked: keep <= free")
    return RankOne(K, keep.double(), free.double(), _category(mask, K), mixture)


@dataclass(frozen=True, eq=False)
class Dense(Discrete):
    """A chain given by its one-step matrices. Cumulative products are kept: 8 T K^2 bytes.

    steps: (T, K, K) float64, rows from, columns to, each row summing to 1.
    """

    steps: Tensor
    mixture: Mixture = "paper"

    @cached_property
    def _cumulative(self) -> Tensor:
        total = torch.eye(self.K, dtype=torch.float64)
        return torch.stack([total, *(total := total @ step for step in self.steps)])

    @cached_property
    def _between(self) -> Callable[[int, int], Tensor]:
        return lru_cache(maxsize=8)(self._product)

    @property
    def T(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.steps)

    @property
    def K(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.steps.shape[-1]

    def _product(self, s: int, t: int) -> Tensor:
        total = torch.eye(self.K, dtype=torch.float64)
        for step in self.steps[s:t]:
            total = total @ step
        return total

    def matrix(self, s: Level, t: Level) -> Tensor:
        """Q_{s->t}, (K, K) or one per sample (B, K, K), float64."""
        if isinstance(s, int) and s == 0:
            return self._cumulative[t]
        if isinstance(s, int) and isinstance(t, int):
            return self._between(s, t)
        starts, stops = (torch.as_tensor(v).reshape(-1) for v in (s, t))
        n = max(len(starts), len(stops))
        pairs = zip(starts.expand(n), stops.expand(n), strict=True)
        return torch.stack([self.matrix(int(i), int(j)) for i, j in pairs])

    def forward(self, probs: Tensor, s: Level, t: Level) -> Tensor:
        flat = probs.flatten(1, -2) if probs.ndim > 2 else probs.unsqueeze(1)
        return (flat @ self.matrix(s, t).to(probs)).reshape(probs.shape)

    def column(self, x: Tensor, s: Level, t: Level) -> Tensor:
        into = self.matrix(s, t).transpose(-1, -2).to(x.device)
        if into.ndim == 2:
            return into[x]
        return torch.stack([m[row] for m, row in zip(into, x, strict=True)])

    @property
    def prior(self) -> Tensor:
        return self.matrix(0, self.T).mean(0)


def discretised_gaussian(
    K: int, betas: Tensor, mixture: Mixture = "paper", width: float | None = None
) -> Dense:
    """Ordinal categories: q falls off as exp(-4 (i-j)^2 / (width^2 beta)) (Austin et al. 2021, A.2.3).

    width: the paper's K - 1 by default, which suits any K. The authors' code has (K - 1)^2 / 255, the same
        only at K = 256; for few categories it almost freezes the chain.
    """
    spread = float(K - 1 if width is None else width)
    offsets = torch.arange(-(K - 1), K, dtype=torch.float64)
    i = torch.arange(K)
    steps = torch.empty(len(betas), K, K, dtype=torch.float64)
    for step, beta in zip(steps, betas.double(), strict=True):
        law = (-4 * offsets.square() / (spread**2 * beta)).softmax(0)
        step.copy_(law[(i[:, None] - i[None]) + K - 1])
        step.fill_diagonal_(0)
        step.diagonal().copy_(1 - step.sum(1))
    return Dense(steps, mixture)


def band_diagonal(K: int, betas: Tensor, bands: int, mixture: Mixture = "paper") -> Dense:
    """Ordinal categories that move to each of at most `bands` on either side with probability beta / K.

    The uniform chain kept near the diagonal (Austin et al. 2021, A.2.3 and the authors' code).
    """
    if not 1 <= bands < K:
        raise ValueError(f"a band is 1 to {K - 1} categories wide on either side, got {bands}")
    i = torch.arange(K)
    near = ((i[:, None] - i[None]).abs() <= bands).double().fill_diagonal_(0)
    steps = betas.double()[:, None, None] / K * near
    return Dense(steps + torch.diag_embed(1 - steps.sum(-1)), mixture)


def _survival(betas: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas.double()).cumprod(0)])


def _category(index: int, K: int) -> int:
    if not 0 <= index < K:
        raise ValueError(f"the mask must be one of the {K} categories, got {index}")
    return index
