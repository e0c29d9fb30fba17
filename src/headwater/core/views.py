"""One denoiser seen as another process: other units of the data, another scale of x, the same knowledge.

What a Gaussian denoiser knows depends on the signal-to-noise ratio alone. So a network trained on a
variance-preserving chain of data in [-1, 1] also serves a variance-exploding chain of data in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwater.core.prediction import Denoises, Prediction
from headwater.core.process import Diffusion
from headwater.core.transition import Level, fit


@dataclass(frozen=True, eq=False)
class View:
    """`denoiser`, told about x' = alpha' (scale x0 + shift) + sigma' eps instead of x = alpha x0 + sigma eps.

    Both hold for one eps when sigma' / alpha' = scale sigma / alpha at every level, and then
    x = (alpha / alpha') (x' - alpha' shift) / scale. A complex x is a pair of real ones: the shift is that of
    each part. The highest levels may be left out, as they must where the signal vanishes (alpha = 0): the
    ratio has no value there. ValueError for that, and where the tables say otherwise.
    """

    denoiser: Denoises
    process: Diffusion
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        q, own = self.denoiser.process, self.process
        alpha, sigma = q.alpha[: own.T + 1], q.sigma[: own.T + 1]
        if q.T < own.T or bool((alpha == 0).any()) or bool((own.alpha == 0).any()):
            raise ValueError("a view has no more levels than the process behind it, and some signal at each")
        if not torch.allclose(own.sigma / own.alpha, self.scale * sigma / alpha, rtol=1e-9, atol=0):
            raise ValueError("a view keeps the signal-to-noise ratio of every level")

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        """Predict from x (B, ...) of the view's process; x0 is in the view's units."""
        a, b = (fit(v, x) for v in self.process.scales(t))
        inside, _ = (fit(v, x) for v in self.denoiser.process.scales(t))
        shift = complex(self.shift, self.shift) if x.is_complex() else self.shift
        twin = None if previous is None else previous.with_x0((previous.x0 - shift) / self.scale)
        pred = self.denoiser((x / a - shift) * (inside / self.scale), t, twin, **cond)
        return Prediction(x, t, self.scale * pred.x0 + shift, pred.label, a, b)


def exploding(denoiser: Denoises, scale: float = 1.0, shift: float = 0.0) -> View:
    """The variance-exploding view, alpha' = 1: x' = scale x0 + shift + sigma' eps (DDRM, Score-MRI).

    It ends below a last level of pure noise (alpha_T = 0), whose sigma' would be infinite.
    """
    q: Diffusion = denoiser.process
    some = q.alpha > 0
    sigma = scale * q.sigma[some] / q.alpha[some]
    return View(denoiser, Diffusion(torch.ones_like(sigma), sigma, q.label[some]), scale, shift)
