"""Score-MRI on a Gaussian prior, where the posterior is known: its mean, its spread, what the data decide."""

from __future__ import annotations

import pytest
import torch

from closed_form import gaussian_prior
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.methods.medical.shared.scan import Scan
from headwater.models import Prior
from headwater.operators import Fourier, OfReal, Sampled
from headwater.operators.acquisition import simulated_coils
from headwater.sampling import Run

SIDE, N = 6, 600
DRAW = torch.Generator().manual_seed(0)
MEAN = torch.rand(1, SIDE, SIDE, generator=DRAW) * 2 - 1
STD = 0.1 + 0.5 * torch.rand(1, SIDE, SIDE, generator=DRAW)
"""Of pictures in [-1, 1]; pixels are independent, each with its own spread, so the data couple them."""


@pytest.fixture
def prior() -> Prior:
    return gaussian_prior(MEAN, STD)


def test_samples_of_real_images_follow_the_posterior(prior: Prior) -> None:
    mask = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    mask[..., SIDE // 2] = mask[..., SIDE // 2 + 1] = True
    a = OfReal(Sampled(Fourier("centred"), mask))
    mean, std = (MEAN[None] + 1) / 2, STD[None] / 2  # as magnitudes
    truth = mean + std * torch.randn(1, 1, SIDE, SIDE, generator=DRAW)
    y = a.forward(truth)
    many, no_phase = y.expand(N, -1, -1, -1), torch.ones(N, 1, SIDE, SIDE, dtype=torch.complex64)
    rows = Scan(many, mask.expand(N, -1, -1, -1), no_phase, real=True)
    method = ScoreMRI(steps=60, highest=3.0, corrections=3, image="real")
    drawn = method.sample(prior, rows, Run(seed=0, batch_size=N, progress=False))[:, 0]

    basis = torch.eye(SIDE * SIDE).reshape(-1, 1, SIDE, SIDE)
    matrix = torch.view_as_real(a.forward(basis)).flatten(1).T.double()
    cov = torch.diag(std.flatten().double() ** 2)
    gain = cov @ matrix.T @ torch.linalg.pinv(matrix @ cov @ matrix.T, rtol=1e-6)
    misfit = torch.view_as_real(y - a.forward(mean)).flatten().double()
    wanted = mean.flatten() + gain @ misfit
    spread = (cov - gain @ matrix @ cov).diagonal().clamp(min=0).sqrt()

    found = drawn.flatten(1).double()
    off = (found.mean(0) - wanted).abs()
    # Sampling error alone would be 0.03; the rest is the finite steps of the corrector.
    assert (off / spread).mean() < 0.15
    # The data, and the prior's mean where there are none.
    naive = mean + a.pseudo_inverse(y - a.forward(mean))
    assert (naive.flatten() - wanted).abs().mean() > 2 * off.mean()
    torch.testing.assert_close(found.std(0).mean(), spread.mean(), rtol=0.1, atol=0)
    # No sample contradicts the data.
    torch.testing.assert_close(a.forward(drawn[:, None]), many, rtol=0, atol=2e-4)


def test_full_sampling_leaves_nothing_to_the_prior(prior: Prior) -> None:
    truth = (MEAN[None] + 1) / 2 + 0.2
    maps = simulated_coils(1, 3, SIDE, SIDE, seed=1)
    everything = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    y = Fourier("centred").forward(maps * truth)
    each = Scan.of(y, everything, "ssos", "phased")
    for method, scan, wanted in (
        (ScoreMRI(steps=10, damping=1e-6), Scan(y, everything, maps), truth),
        (ScoreMRI(steps=10, combine="ssos"), each, (maps * truth)[0, :, None].abs()),
    ):
        found = method.sample(prior, scan, Run(progress=False))
        torch.testing.assert_close(found.abs(), wanted, rtol=0, atol=1e-3)
