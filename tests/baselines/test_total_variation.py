"""Total variation reaches the least of its cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.baselines.total_variation import total_variation
from headwater.operators import Coils, Fourier, Sampled
from headwater.operators.acquisition import sampling, simulated_coils


def test_more_iterations_lower_the_cost_no_further() -> None:
    truth = torch.zeros(2, 1, 12, 12)
    truth[..., 3:9, 4:8] = 0.7
    mask = sampling("gaussian1d", 2, 12, 12, 2, 0.4, seed=5)
    a = Coils(Sampled(Fourier("centred"), mask), simulated_coils(2, 4, 12, 12, 4))
    y = a.forward(truth + 0j)
    x, lower = (total_variation(a, y, 1e-2, iterations=n) for n in (300, 600))

    def cost(x: Tensor) -> float:
        steps = torch.stack([x[..., 1:, :-1] - x[..., :-1, :-1], x[..., :-1, 1:] - x[..., :-1, :-1]])
        rough = steps.abs().square().sum(0).sqrt().sum()
        return float((a.forward(x) - y).abs().square().sum() / 2 + 1e-2 * rough)

    assert cost(lower) == pytest.approx(cost(x), rel=1e-2)
    assert cost(x) < 0.9 * cost(a.adjoint(y))
