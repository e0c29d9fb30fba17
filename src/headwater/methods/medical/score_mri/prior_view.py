"""Any prior as the score model that Score-MRI wants: magnitudes in [0, 1], variance exploding."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from headwater.core import DPMSolver
from headwater.core.views import View, exploding
from headwater.methods.medical.score_mri.measured import Measured
from headwater.methods.medical.shared.coils import sum_of_squares
from headwater.models import Prior
from headwater.nets.wrappers import RealAndImaginary
from headwater.operators import Fourier
from headwater.sampling import Run, timesteps_of

_DRAWN, _CALLS = 8, 15
"""Pictures that tell how bright a prior's are, and the network calls for each."""


def units(prior: Prior) -> tuple[float, float]:
    """Scale and shift from the prior's pictures to magnitudes: (x + 1) / 2, or x for a network of [0, 1].

    NCSN++ (`headwater.nets.ncsnpp`) says by `centred: false` that it was trained on [0, 1].
    """
    return (1.0, 0.0) if prior.config.network.get("centred") is False else (0.5, 0.5)


def magnitude_denoiser(prior: Prior, image: Literal["phased", "complex", "real"]) -> View:
    """The prior seen as a variance-exploding chain of magnitudes.

    For complex images the network serves both parts in one batch.
    """
    network = prior.network if image == "real" else RealAndImaginary(prior.network)
    return exploding(prior.config.denoiser(network), *units(prior))


def brightness_gain(prior: Prior, scan: Measured, brightness: float | None, run: Run) -> Tensor:
    """What to multiply each row of a scan with so that its image is as bright as the prior's, (R,).

    Compared is the 99th percentile of the magnitude after zero filling: of the scan, and of pictures of the
    prior that were sampled alike. `brightness` stands in for the latter if given.
    """
    transform = Fourier("centred")
    seen = _bright(sum_of_squares(transform.pseudo_inverse(scan.y))).clamp(min=1e-12)
    if brightness is not None:
        return brightness / seen
    plan = timesteps_of(prior.process, min(_CALLS, prior.process.T), "log-snr")
    drawn = prior.sample(_DRAWN, plan, DPMSolver(), **replace(run, progress=False, first=0)).to(scan.y.device)
    scale, shift = units(prior)
    k = transform.forward((scale * drawn + shift).clamp(0, 1) + 0j)
    usual = [_bright(transform.pseudo_inverse(k * m).abs()).median() for m in scan.mask]
    return torch.stack(usual) / seen


def _bright(magnitude: Tensor) -> Tensor:
    return magnitude.flatten(1).quantile(0.99, dim=1)
