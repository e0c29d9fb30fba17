"""Scans as they are simulated, and what the centre of their k-space tells."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from headwater.errors import UserError
from headwater.operators import Fourier
from headwater.operators.acquisition import (
    Family,
    acceleration,
    sampling,
    simulated_coils,
)
from headwater.operators.calibration import calibration_size, coil_maps, low_resolution, sum_of_squares


@pytest.mark.parametrize("family", get_args(Family))
def test_masks_measure_what_they_say(family: Family) -> None:
    masks = sampling(family, 3, 32, 24, 4, 0.2, seed=7)
    torch.testing.assert_close(acceleration(masks), torch.full((3,), 4.0))
    assert torch.equal(masks[:2], sampling(family, 2, 32, 24, 4, 0.2, seed=7))
    assert not torch.equal(masks[0], masks[1])
    rows, columns = calibration_size(masks[0, 0])
    assert columns >= 4
    assert rows == 32 if family.endswith("1d") else rows >= 6
    with pytest.raises(UserError, match="smaller centre"):
        sampling(family, 1, 32, 24, 4, 0.9)


def test_simulated_coils_are_smooth_and_their_sum_of_squares_is_one() -> None:
    maps = simulated_coils(2, 4, 32, 32, 1)
    torch.testing.assert_close(sum_of_squares(maps), torch.ones(2, 1, 32, 32))
    assert maps.diff(dim=-1).abs().max() < 0.2
    assert torch.equal(maps[:1], simulated_coils(1, 4, 32, 32, 1))


def test_calibration_reads_the_centre_alone() -> None:
    mask = sampling("gaussian1d", 1, 12, 12, 2, 0.4, seed=5)
    y = torch.randn(1, 4, 12, 12, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)) * mask
    rows, columns = calibration_size(mask[0, 0])
    inside = torch.zeros(12, 12, dtype=torch.bool)
    top, left = 12 // 2 - rows // 2, 12 // 2 - columns // 2
    inside[top : top + rows, left : left + columns] = True
    assert torch.equal(low_resolution(y, mask), low_resolution(y * inside, mask))


@pytest.mark.parametrize("region", [(24, 24), (128, 24), (128, 128)])
def test_maps_are_right_at_ordinary_noise_whatever_was_measured(region: tuple[int, int]) -> None:
    # A smooth head of 128 x 128 seen by 8 coils, noise a 33rd of its largest value.
    side, draw = 128, torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    head = (
        ((y / 0.8).square() + (x / 0.6).square() < 1) * (1 + 0.4 * torch.cos(9 * y) * torch.cos(7 * x)) / 1.4
    )
    maps = simulated_coils(1, 8, side, side, seed=0)
    noise = torch.complex(*torch.randn(2, 1, 8, side, side, generator=draw)) / 33 / 2**0.5
    kspace = Fourier("centred").forward(maps * head) + noise
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    rows, columns = (slice(64 - n // 2, 64 + n // 2) for n in region)
    mask[..., rows, columns] = True
    found = coil_maps(kspace, mask)
    same = (found.conj() * maps).sum(1).abs()[0, head > 0]
    assert same.mean() > 0.999
    seen = (found.conj() * Fourier("centred").pseudo_inverse(kspace)).sum(1).abs()[0]
    error = (seen - head).square().mean().sqrt()
    assert error < 0.035  # the noise of one image, sqrt(1 / 2) / 33, and what is rectified outside the head


def test_maps_of_noise_alone_are_refused() -> None:
    kspace = torch.complex(*torch.randn(2, 1, 8, 64, 64, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(UserError, match="does not tell coils from noise"):
        coil_maps(kspace, torch.ones(1, 1, 64, 64, dtype=torch.bool))


def test_estimated_maps_are_the_true_ones_but_for_a_phase() -> None:
    # A flat object: k-space is the maps' own spectrum, so a calibration region of full size knows them.
    side = 16
    maps = simulated_coils(1, 4, side, side, seed=2)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    truth = 1 + 0.5 * torch.cos(2 * torch.pi * (2 * y + x) / side)
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    mask[..., 3:13, 3:13] = True
    found = coil_maps(Fourier("centred").forward(maps * truth) * mask, mask)
    torch.testing.assert_close(found.abs().square().sum(1), torch.ones(1, side, side))
    same = (found.conj() * maps).sum(1).abs()
    assert same[..., 2:-2, 2:-2].min() > 0.995
    assert same.mean() > 0.995
