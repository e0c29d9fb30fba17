"""Samplers: pure functions of ONE step, their state passed explicitly.

`step(q, pred, s, state)` returns the transition to level s and the next state; it never draws. A step with
s = pred.t stays on its level: that is where correctors work. `plan(levels)` inserts the stays that a
sampler wants, so any sampler takes any plan.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor

from headwater.core.likelihood import model_log_variance
from headwater.core.prediction import Prediction
from headwater.core.process import Diffusion
from headwater.core.transition import Gaussian, LangevinMove, Transition, fit, root

State = Any
"""What a sampler wants to remember from one step to the next; None after a start or a climb."""


class Sampler(ABC):
    """One reverse step. Subclasses are final, frozen and hold only hyper-parameters."""

    multistep: bool = False
    """True where a step relies on x not having been edited since the last one."""

    @abstractmethod
    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        """The transition from (pred.x, pred.t) to level s <= pred.t, and the state for the next call."""

    def plan(self, levels: Sequence[int]) -> list[int]:
        """The levels as this sampler walks them."""
        return list(levels)


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Draw from the process's own posterior at the predicted x0: DDPM, VE and discrete chains alike.

    variance: `small` is the posterior's, `large` the forward step's (Ho et al. 2020, sec. 3.2), `learned`
        the network's (Nichol & Dhariwal 2021). The step into level 0 adds no noise.

    >>> prior.sample(1, 2, hw.Ancestral("large"), seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    variance: Literal["small", "large", "learned"] = "small"

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        dist = q.posterior(pred.x, pred.x0, pred.t, s)
        if s == 0 or self.variance == "small":
            return dist, None
        if self.variance == "large":
            return replace(dist, std=fit(q.between(s, pred.t)[1], pred.x)), None
        return replace(dist, std=(model_log_variance(q, pred, s) / 2).exp()), None


@dataclass(frozen=True)
class DDIM(Sampler):
    """Song, Meng & Ermon 2021, eq. 12 and 16; eta = 0 is deterministic, eta = 1 is `Ancestral('small')`.

    >>> prior.sample(1, 2, hw.DDIM(eta=0.5), seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    eta: float = 0.0

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        (alpha, sigma), (_, sigma_t) = q.scales(s), q.scales(pred.t)
        std = self.eta * q.between(s, pred.t)[1] * sigma / sigma_t
        on_eps = root(sigma * sigma - std * std)
        mean = fit(alpha, pred.x) * pred.x0 + fit(on_eps, pred.x) * pred.eps
        return Gaussian(mean, fit(std, pred.x)), None


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """DPM-Solver++(2M), midpoint form (Lu et al. 2022, Alg. 2); `sde` adds fresh noise in each step.

    order: 1 is DDIM. The first step, and the step into level 0, are of first order.

    >>> prior.sample(1, 2, hw.DPMSolver(kind="sde"), seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    order: Literal[1, 2] = 2
    kind: Literal["ode", "sde"] = "ode"
    multistep = True

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        x, x0 = pred.x, pred.x0
        (alpha, sigma), (_, sigma_t) = q.scales(s), q.scales(pred.t)
        h = float(q.half_log_snr[s] - q.half_log_snr[pred.t])
        if state is not None and self.order == 2 and s > 0:
            before, h_before = state
            x0 = x0 + (x0 - before) * (h / (2 * h_before))
        decay = sigma / sigma_t
        if self.kind == "ode":
            return Gaussian(decay * x - alpha * math.expm1(-h) * x0, 0.0), (pred.x0, h)
        drop = -math.expm1(-2 * h)
        mean = decay * math.exp(-h) * x + alpha * drop * x0
        return Gaussian(mean, sigma * math.sqrt(drop)), (pred.x0, h)


class _Trapezoid(Sampler):
    """Second order by staying: step down by Euler, then redo the step with the mean of both slopes."""

    multistep = True

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        if s == pred.t:
            if state is None:
                raise ValueError("a corrector needs the step before it: do not begin a plan by staying")
            return Gaussian(self._corrected(q, state, pred), 0.0), None
        alpha, sigma = q.scales(s)
        return Gaussian(alpha * pred.x0 + sigma * pred.eps, 0.0), pred

    def plan(self, levels: Sequence[int]) -> list[int]:
        """Each level below the first is visited twice, but for 0 (Karras et al. 2022, Alg. 1)."""
        return stays(levels, "after")

    @abstractmethod
    def _corrected(self, q: Diffusion, old: Prediction, new: Prediction) -> Tensor: ...


@dataclass(frozen=True)
class Heun(_Trapezoid):
    """Trapezoid rule in sigma / alpha (Karras et al. 2022, Alg. 1). Two network calls a step.

    Churn is a matter of the plan: let it climb to a level between two others (`plan.churned`).

    >>> prior.sample(1, 2, hw.Heun(), seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    def _corrected(self, q: Diffusion, old: Prediction, new: Prediction) -> Tensor:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = q.scales(old.t), q.scales(new.t)
        if alpha_t == 0:
            raise ValueError("Heun divides by alpha, 0 in pure noise: use FlowODE or start lower")
        half = (sigma_s / alpha_s - sigma_t / alpha_t) / 2
        return alpha_s * (old.x / alpha_t + half * (old.eps + new.eps))


@dataclass(frozen=True)
class FlowODE(_Trapezoid):
    """Trapezoid rule along the process's own path, dx = x0 d(alpha) + eps d(sigma).

    For straight paths this is the Heun step of rectified flow. Its Euler step is DDIM on any path.

    >>> prior.sample(1, 2, hw.FlowODE(), seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    def _corrected(self, q: Diffusion, old: Prediction, new: Prediction) -> Tensor:
        t, s = old.t, new.t
        da, db = (
            fit((q.alpha[s] - q.alpha[t]) / 2, old.x),
            fit((q.sigma[s] - q.sigma[t]) / 2, old.x),
        )
        return old.x + da * (old.x0 + new.x0) + db * (old.eps + new.eps)


@dataclass(frozen=True)
class Langevin(Sampler):
    """Corrector: one Langevin move on a level, signal-to-noise ratio `snr` (Song et al. 2021, Alg. 4, 5).

    norms: per `sample`, so that results do not depend on the batch; per `part`, real and imaginary, of a
        complex sample (Chung & Ye 2022); or over the `batch` as the reference.

    >>> hw.PredictorCorrector(corrector=hw.Langevin(snr=0.2)).plan([2, 1, 0])
    [2, 2, 1, 1, 0]
    """

    snr: float = 0.16
    norms: Literal["sample", "part", "batch"] = "sample"

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        if s != pred.t:
            raise ValueError("Langevin stays on its level: pair it with a predictor")
        a = q.between(s - 1, s)[0]
        scale = fit(a * a, pred.x)  # alpha_i = 1 - beta_i of a VP chain, 1 for VE
        return LangevinMove(pred.x, pred.score, self.snr, scale, self.norms), None


@dataclass(frozen=True)
class ReverseSDE(Sampler):
    """Euler-Maruyama on the reversed process, from its rates at the level that is left.

        x_s = x_t - f x_t + (1 + eta^2)/2 g^2 score + eta g z        f, g^2: `process.increments`

    eta = 1 is the reverse SDE, 0 the probability-flow ODE (Song et al. 2021, eq. 6 and 13); every eta has the
    same marginals. Unlike `Ancestral` it adds noise in every step, the one into level 0 included unless
    `clean`: in few steps that noise is plainly visible.
    """

    eta: float = 1.0
    clean: bool = False

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        drift, variance = q.increments(s, pred.t)
        on_score = (1 + self.eta * self.eta) / 2 * variance
        mean = fit(1 - drift, pred.x) * pred.x + fit(on_score, pred.x) * pred.score
        eta = 0.0 if self.clean and s == 0 else self.eta
        return Gaussian(mean, fit(eta * root(variance), pred.x)), None


@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Correct `times` times on each level, then predict (Song et al. 2021, Alg. 1, in its code's order).

    >>> prior.sample(1, 2, hw.PredictorCorrector(times=2), seed=0).shape
    torch.Size([1, 1, 32, 32])
    """

    predictor: Sampler = Ancestral()
    corrector: Sampler = Langevin()
    times: int = 1

    def step(self, q: Any, pred: Prediction, s: int, state: State = None) -> tuple[Transition, State]:
        worker = self.corrector if s == pred.t else self.predictor
        return worker.step(q, pred, s, state)

    def plan(self, levels: Sequence[int]) -> list[int]:
        return stays(levels, "before", self.times)


def stays(levels: Sequence[int], when: Literal["before", "after"], times: int = 1) -> list[int]:
    """Repeat a level `times` more before or after each step down; never 0.

    A plan that stays already is left alone: whoever wrote it chose where to correct.
    """
    if any(s == t for t, s in pairwise(levels)):
        return list(levels)
    walk = list(levels[:1])
    for t, s in pairwise(levels):
        if s < t and when == "before":
            walk += [t] * times
        walk.append(s)
        if 0 < s < t and when == "after":
            walk += [s] * times
    return walk
