"""The figure of noise laws, on fields whose spectrum and distribution are known."""

from __future__ import annotations

import math

import pytest
import torch

from headwater.methods.anomaly.anoddpm.noise_study import (
    normal_density,
    octave_grid,
    portrait,
    radial_spectrum,
    spectral_distance,
)
from headwater.noise import PowerLaw, Simplex, White


def test_a_wave_has_its_power_at_its_frequency() -> None:
    x = torch.arange(64.0)
    for cycles in (3, 9, 20):
        image = torch.cos(2 * math.pi * cycles * x / 64).expand(2, 1, 64, 64)
        spectrum = radial_spectrum(image)
        assert int(spectrum.argmax()) + 1 == cycles
        # The window spreads a line over its neighbours, no farther.
        assert float(spectrum[cycles - 2 : cycles + 1].sum()) > 0.99
        assert float(spectrum.sum()) == pytest.approx(1)


def test_white_noise_has_power_in_proportion_to_the_ring() -> None:
    spectrum = portrait(White(), 32, n=256).spectrum
    frequency = torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64)
    ring = torch.hypot(frequency[:, None], frequency).round().long().flatten()
    count = torch.bincount(ring)[1:17].double()
    torch.testing.assert_close(spectrum, count / count.sum(), rtol=0.15, atol=0)


def test_values_against_the_normal_curve() -> None:
    white, power, simplex = (
        portrait(law, 32, 128) for law in (White(), PowerLaw(1, 0.8, 8.0), Simplex(1, 0.8, 8.0))
    )
    for gaussian in (white, power):
        torch.testing.assert_close(gaussian.density, normal_density(gaussian.edges), atol=0.03, rtol=0)
        assert gaussian.std == pytest.approx(1, abs=0.03)
        assert abs(gaussian.excess_kurtosis) < 0.15
    # One octave of simplex noise has light tails: the reason why octaves are added.
    assert simplex.excess_kurtosis < -0.2
    assert float((simplex.density - normal_density(simplex.edges)).abs().max()) > 0.02


def test_long_waves_have_low_frequencies_and_octaves_fill_the_gap() -> None:
    cycles = torch.arange(1, 17, dtype=torch.float64)
    grid = octave_grid((1, 4), (4.0, 8.0, 16.0), side=32)
    means = [float((p.spectrum * cycles).sum()) for p in grid[0]]
    assert means == sorted(means, reverse=True)
    high = [float(row[2].spectrum[8:].sum()) for row in grid]
    assert high[1] > 10 * high[0]


def test_spectral_distance_is_a_metric_on_shares() -> None:
    one, other = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0.5, 0.5])
    assert spectral_distance(one, one) == 0
    assert spectral_distance(one, other) == spectral_distance(other, one) == 1
