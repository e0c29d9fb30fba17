from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from headwater.metrics.frechet import frechet_distance, frechet_of_gaussians


def _features(n: int, d: int, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + seed


def test_distance_is_that_of_a_matrix_square_root() -> None:
    a, b = _features(80, 6, 1), _features(60, 6, 2)
    x, y = a.numpy(), b.numpy()
    root = np.real(sqrtm(np.cov(x.T) @ np.cov(y.T)))
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    expected = shift + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


def test_closed_form_of_diagonal_gaussians() -> None:
    mean_a, mean_b = torch.tensor([0.0, 1.0]), torch.tensor([3.0, 1.0])
    sd_a, sd_b = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.5])
    found = frechet_of_gaussians(mean_a, sd_a.square().diag(), mean_b, sd_b.square().diag())
    assert found == pytest.approx(9 + 9 + 2.25)


def test_equal_and_rank_deficient_features() -> None:
    few = _features(4, 10, 3)
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(few, few + 2.0) == pytest.approx(40.0, rel=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one width"):
        frechet_distance(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="two rows"):
        frechet_distance(torch.zeros(1, 2), torch.zeros(3, 2))
