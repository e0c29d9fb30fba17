"""Statistics of random fields, on fields whose values and spectra theory knows."""

from __future__ import annotations

import math

import pytest
import torch

from headwater.metrics.fields import FieldStatistics, normal_density, radial_spectrum, spectral_distance
from headwater.noise import PowerLaw, Simplex, White


def test_a_wave_has_its_power_at_its_frequency() -> None:
    for cycles in (3, 9, 20):
        image = torch.cos(2 * math.pi * cycles * torch.arange(64.0) / 64).expand(2, 1, 64, 64)
        spectrum = radial_spectrum(image)
        assert int(spectrum.argmax()) + 1 == cycles
        # The window spreads a line over its neighbours, no farther.
        assert float(spectrum[cycles - 2 : cycles + 1].sum()) > 0.99
        assert float(spectrum.sum()) == pytest.approx(1)


def test_fields_have_the_values_and_spectra_that_theory_says() -> None:
    white, power, simplex = (
        FieldStatistics.of(law, 32, 256) for law in (White(), PowerLaw(1, 0.8, 8.0), Simplex(1, 0.8, 8.0))
    )
    frequency = torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64)
    count = torch.bincount(torch.hypot(frequency[:, None], frequency).round().long().flatten())[1:17].double()
    torch.testing.assert_close(white.spectrum, count / count.sum(), rtol=0.15, atol=0)
    for gaussian in (white, power):
        torch.testing.assert_close(gaussian.density, normal_density(), atol=0.03, rtol=0)
        assert gaussian.std == pytest.approx(1, abs=0.03)
        assert abs(gaussian.excess_kurtosis) < 0.15
    # One octave of simplex noise has light tails: the reason why octaves are added.
    assert simplex.excess_kurtosis < -0.2
    assert float((simplex.density - normal_density()).abs().max()) > 0.02


def test_long_waves_have_low_frequencies_and_octaves_fill_the_gap() -> None:
    few = [FieldStatistics.of(Simplex(1, 0.8, w), 32).spectrum for w in (4.0, 8.0, 16.0)]
    means = [float((s * torch.arange(1, 17)).sum()) for s in few]
    assert means == sorted(means, reverse=True)
    assert FieldStatistics.of(Simplex(4, 0.8, 16.0), 32).spectrum[8:].sum() > 10 * few[2][8:].sum()
    one, other = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0.5, 0.5])
    assert spectral_distance(one, one) == 0
    assert spectral_distance(one, other) == spectral_distance(other, one) == 1
