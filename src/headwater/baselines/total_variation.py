"""Compressed sensing without a prior: the image of least total variation that fits what was measured."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.operators import Operator


def total_variation(a: Operator, y: Tensor, weight: float, iterations: int = 300) -> Tensor:
    """argmin_x |A x - y|^2 / 2 + weight * sum over pixels of |grad x|, of real or complex x (B, 1, H, W).

    Primal-dual splitting (Condat 2013, Alg. 3.1) for operators with |A| <= 1, such as an orthonormal Fourier
    transform behind maps with sum of squares 1. The gradient takes differences to the next pixel, both
    parts of a complex value together.
    """
    step, dual_step = 0.5, 0.18  # 1 / step - 8 dual_step >= 1 / 2
    x = a.adjoint(y)
    dual = torch.zeros(2, *x.shape, dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        moved = x - step * (a.adjoint(a.forward(x) - y) + _divergence(dual))
        dual = dual + dual_step * _gradient(2 * moved - x)
        size = dual.abs().square().sum(0).sqrt()
        dual = dual / (size / weight).clamp(min=1)
        x = moved
    return x


def _gradient(x: Tensor) -> Tensor:
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[..., :-1, :] = x.diff(dim=-2)
    right[..., :-1] = x.diff(dim=-1)
    return torch.stack([down, right])


def _divergence(dual: Tensor) -> Tensor:
    """The adjoint of `_gradient`."""
    out = torch.zeros_like(dual[0])
    out[..., :-1, :] -= dual[0, ..., :-1, :]
    out[..., 1:, :] += dual[0, ..., :-1, :]
    out[..., :-1] -= dual[1, ..., :-1]
    out[..., 1:] += dual[1, ..., :-1]
    return out
