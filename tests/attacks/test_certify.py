"""Radii of a linear classifier, whose smoothed answer has a closed form; and attacks that only transfer."""

from __future__ import annotations

from math import comb

import pytest
import torch
from torch import Tensor, nn

from headwater.attacks import PGD, Threat, Transfer, certify, suite
from headwater.attacks.report import TRANSFER
from headwater.errors import UserError
from headwater.metrics.statistics import least_share
from headwater.sampling import Run

QUIET = Run(seed=3, batch_size=64, progress=False)


class Sum(nn.Module):
    """Class 1 where the pixels sum to more than that of a grey picture."""

    def forward(self, images: Tensor) -> Tensor:
        total = (images - 0.5).flatten(1).sum(1)
        return torch.stack([-total, total], 1)


def test_the_radius_is_below_the_distance_to_the_boundary_and_near_it() -> None:
    images = torch.full((4, 1, 4, 4), 0.5)
    images += torch.tensor([0.02, 0.05, -0.05, 0.3])[:, None, None, None]
    labels = torch.tensor([1, 1, 0, 1])
    distance = (images - 0.5).flatten(1).sum(1).abs() / 4
    found = certify(Sum(), images, labels, 0.25, draws=1000, **QUIET)
    assert bool((found <= distance).all())
    assert bool((found[1:3] > 0.5 * distance[1:3]).all())
    assert float(found[3]) == pytest.approx(0.25 * 2.4624, abs=1e-3)  # the quantile of 0.001 ** (1 / 1000)
    wrong = certify(Sum(), images, 1 - labels, 0.25, **QUIET)
    assert not bool(wrong.any())


def test_radii_depend_on_the_seed_alone() -> None:
    images, labels = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.ones(5).long()
    whole = certify(Sum(), images, labels, 0.2, draws=30, **QUIET)
    small = Run(seed=3, batch_size=7, progress=False, first=3)
    assert torch.equal(certify(Sum(), images[3:], labels[3:], 0.2, draws=30, **small), whole[3:])
    with pytest.raises(UserError, match="positive"):
        certify(Sum(), images, labels, 0.0)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (7, 10), (200, 200)])
def test_the_bound_of_a_share_is_the_exact_one(k: int, n: int) -> None:
    p = least_share(k, n, 0.99)
    tail = sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    assert p == 0 if k == 0 else tail == pytest.approx(0.01, rel=1e-6)
    with pytest.raises(ValueError, match="proportion"):
        least_share(n + 1, n)


def test_a_transferred_attack_asks_the_surrogate_alone() -> None:
    class Never(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert not images.requires_grad
            return Sum()(images)

    images, labels = torch.full((3, 1, 4, 4), 0.52), torch.ones(3).long()
    attack = Transfer(Sum(), PGD(3))
    report = suite(Never(), images, labels, Threat("linf", 0.1), {TRANSFER: attack}, **QUIET)
    assert bool(report.clean.all())
    assert not bool(report.worst.any())
