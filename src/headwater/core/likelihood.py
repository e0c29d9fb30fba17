"""The variational bound of a Gaussian chain, in bits per dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headwater.core.prediction import Prediction
from headwater.core.process import Diffusion
from headwater.core.transition import Level, fit


def normal_kl(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
    """KL(p || q) of diagonal Gaussians, elementwise, in nats."""
    ratio = (logvar_p - logvar_q).exp() + (mean_p - mean_q).square() * (-logvar_q).exp()
    return 0.5 * (logvar_q - logvar_p - 1 + ratio)


def discretised_nll(x0: Tensor, mean: Tensor, logvar: Tensor, bins: int = 256) -> Tensor:
    """-ln of a Gaussian's mass in x0's bin, elementwise; x0 in [-1, 1] on `bins` even values.

    The two outer bins reach to infinity (Ho et al. 2020, eq. 13). The Gaussian integral is the tanh
    approximation of the reference code, so that trained bounds are comparable.
    """
    half = 1 / (bins - 1)
    scale = (-logvar / 2).exp()
    upper, lower = (_cdf(scale * (x0 - mean + edge)) for edge in (half, -half))
    mass = torch.where(x0 < -0.999, upper, torch.where(x0 > 0.999, 1 - lower, upper - lower))
    return -mass.clamp(min=1e-12).log()


def _cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))).tanh())


def model_log_variance(q: Diffusion, pred: Prediction, s: Level) -> Tensor:
    """ln of the variance that the network chose for the step pred.t -> s, shaped like x.

    Raises ValueError when the network has no variance head.
    """
    if pred.logvar is not None:
        return pred.logvar
    if pred.fraction is None:
        raise ValueError("this network has no variance head: use variance='small' or 'large'")
    low, high = (fit(v, pred.x) for v in q.log_variances(pred.t, s))
    return pred.fraction * high + (1 - pred.fraction) * low


def bound(q: Diffusion, pred: Prediction, x0: Tensor) -> Tensor:
    """The term of the variational bound at pred.t, bits per dimension, (B,).

    KL of the true posterior from the model's for t > 1, and -log p(x_0 | x_1) for t = 1; x0 in [-1, 1].
    """
    t = torch.as_tensor(pred.t).expand(len(x0))
    logvar = model_log_variance(q, pred, t - 1)
    true = q.posterior(pred.x, x0, t, t - 1).mean
    model = q.posterior(pred.x, pred.x0, t, t - 1).mean
    low, _ = q.log_variances(t, t - 1)
    kl = normal_kl(true, torch.as_tensor(fit(low, x0)), model, logvar).flatten(1).mean(1)
    nll = discretised_nll(x0, model, logvar).flatten(1).mean(1)
    return torch.where((t == 1).to(kl.device), nll, kl) / math.log(2)
