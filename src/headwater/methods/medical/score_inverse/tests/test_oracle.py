"""Song et al. 2022 where the answer is known: a Gaussian prior behind CT, full and no trust; refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from arrays import close
from closed_form import gaussian_prior
from contract.specimens import exact_prior
from headwater.data.pictures import UnreadableError
from headwater.errors import UserError
from headwater.methods.medical.score_inverse.method import ScoreInverse
from headwater.methods.medical.shared.scan import Measured
from headwater.models import Prior
from headwater.operators import Fourier, Radon
from headwater.sampling import Run

SIDE, N = 6, 400
DRAW = torch.Generator().manual_seed(0)
MEAN = torch.rand(1, SIDE, SIDE, generator=DRAW) * 2 - 1
STD = 0.1 + 0.5 * torch.rand(1, SIDE, SIDE, generator=DRAW)
"""Of pictures in [-1, 1]; pixels are independent, each with its own spread, so the data couple them."""
QUIET = {"progress": False, "device": "cpu", "seed": 0}
METHOD = ScoreInverse(steps=40, highest=3.0, snr=0.16, corrections=3, image="real")


@pytest.fixture
def prior() -> Prior:
    return gaussian_prior(MEAN, STD)


def posterior(a: Radon, y: Tensor, mean: Tensor, std: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each pixel, (H * W,) float64."""
    matrix = a.forward(torch.eye(SIDE * SIDE, dtype=torch.float64).reshape(-1, 1, SIDE, SIDE)).flatten(1).T
    cov = torch.diag(std.flatten().double() ** 2)
    seen = matrix @ cov @ matrix.T + noise**2 * torch.eye(len(matrix))
    gain = cov @ matrix.T @ torch.linalg.pinv(seen, rtol=1e-6)
    misfit = y.flatten().double() - matrix @ mean.flatten().double()
    spread = (cov - gain @ matrix @ cov).diagonal().clamp(min=0).sqrt()
    return mean.flatten() + gain @ misfit, spread


def test_samples_of_ct_follow_the_posterior(prior: Prior) -> None:
    a, mean, std = Radon.even(2, (SIDE, SIDE)), (MEAN[None] + 1) / 2, STD[None] / 2  # as magnitudes
    truth = mean + std * torch.randn(1, 1, SIDE, SIDE, generator=DRAW)
    y = a.forward(truth)
    wanted, spread = posterior(a, y, mean, std, 0.0)
    rows = Measured(y.expand(N, -1, -1, -1), a, real=True)
    drawn = METHOD.sample(prior, rows, Run(0, N, "cpu", False))[:, 0]
    off = (drawn.flatten(1).double().mean(0) - wanted).abs()
    assert (off / spread).mean() < 0.15
    naive = mean + a.pseudo_inverse(y - a.forward(mean))
    assert (naive.flatten() - wanted).abs().mean() > 2 * off.mean()
    torch.testing.assert_close(drawn.flatten(1).double().std(0).mean(), spread.mean(), rtol=0.15, atol=0)
    torch.testing.assert_close(a.forward(drawn[:, None]), y.expand(N, -1, -1, -1), rtol=0, atol=2e-4)


def test_with_noise_an_inner_trust_is_nearest_to_the_posterior_mean(prior: Prior) -> None:
    a, mean, std, noise = Radon.even(2, (SIDE, SIDE)), (MEAN[None] + 1) / 2, STD[None] / 2, 0.2
    y = a.forward(mean + std * torch.randn(1, 1, SIDE, SIDE, generator=DRAW))
    y = y + noise * torch.randn(y.shape, generator=DRAW)
    wanted, _ = posterior(a, y, mean, std, noise)
    rows = Measured(y.expand(N, -1, -1, -1), a, real=True)

    def error(weight: float) -> float:
        drawn = replace(METHOD, weight=weight).sample(prior, rows, Run(0, N, "cpu", False))
        return float((drawn.mean(0).flatten() - wanted).square().mean().sqrt())

    assert error(0.03) < 0.8 * min(error(0.0), error(1.0))


def test_no_trust_is_the_prior_and_full_trust_in_everything_the_truth(prior: Prior) -> None:
    truth = (MEAN[None] + 1) / 2 + 0.2
    y = list(Fourier("centred").forward(truth + 0j)[0])
    ours = replace(METHOD, brightness=1.0, steps=10)
    everything = ours.apply(prior, y, **QUIET).magnitude[0]
    everything = everything * truth.flatten().quantile(0.99) / everything.flatten().quantile(0.99)
    torch.testing.assert_close(everything, truth[0, 0], rtol=0, atol=1e-3)
    blind = replace(ours, weight=0.0, highest=None)
    one, other = (blind.apply(prior, [k], **QUIET).magnitude[0] for k in (y[0], -y[0]))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


def test_ct_comes_back_in_the_units_of_the_sinogram(prior: Prior) -> None:
    a, truth = (
        Radon.even(12, (SIDE, SIDE)),
        (MEAN + 1) / 2 + 0.1 * torch.rand(3, 1, SIDE, SIDE, generator=DRAW),
    )
    y, method = a.forward(truth), replace(METHOD, samples=2)
    one, eight = (method.apply(prior, list(k), operator=a, **QUIET) for k in (y, 8 * y))
    # Twelve views of 6 x 6 pixels leave nothing open.
    torch.testing.assert_close(torch.stack(list(one.magnitude)), truth[:, 0], rtol=0, atol=1e-2)
    for k in range(3):
        torch.testing.assert_close(8 * one.magnitude[k], eight.magnitude[k], rtol=1e-3, atol=1e-3)
        assert one.uncertainty[k].max() < 1e-2


def test_sinograms_by_name_are_those_of_the_scanner(tmp_path: Path) -> None:
    prior, size = exact_prior((1, 8, 8)), (8, 8)
    a = Radon.even(5, size, iterations=20)
    y = a.forward(torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(0)))
    method = ScoreInverse(steps=3, brightness=0.5, image="real")
    np.save(tmp_path / "turned.npy", 36.0 * np.arange(5))
    for by in ("radon", "radon 180", f"radon {tmp_path / 'turned.npy'}"):
        found = replace(method, by=by).apply(prior, list(y[:, 0]), **QUIET).magnitude
        wanted = method.apply(prior, list(y), operator=a, **QUIET).magnitude
        close(torch.stack(list(found)), torch.stack(list(wanted)), share=1e-5)
    metal = torch.ones(3, 1, 5, a.detectors, dtype=torch.bool)
    metal[1, :, :, 5:8] = False
    spoilt = torch.where(metal, y, 100.0)[:, 0]
    given = replace(method, by="radon").apply(prior, list(spoilt), metal, **QUIET).magnitude
    without = replace(method, by="radon").apply(prior, list(y[:, 0]), **QUIET).magnitude
    close(given[0], without[0], share=1e-5)
    assert (given[1] - without[1]).abs().max() > 0.01
    one = replace(method, by="radon").apply(prior, list(spoilt[1:2]), metal[1:2], **(QUIET | {"first": 1}))
    # Conjugate gradients that have not converged magnify rounding, which differs with the batch.
    close(one.magnitude[0], given[1], share=5e-3)


def test_what_cannot_be_is_said() -> None:
    prior, a = exact_prior((1, 8, 8)), Radon.even(3, (8, 8))
    y = a.forward(torch.rand(2, 1, 8, 8))
    bad: tuple[tuple[str, dict[str, Any], Any], ...] = (
        ("a trust from 0 to 1", {"weight": 1.5}, y),
        (r"\(1, 3, 12\) was measured of each slice, but .* makes \(1, 3, 13\)", {}, y[..., 1:]),
        ("nothing measured", {}, []),
    )
    sinograms = list(y[:, 0])
    for words, by, data in (
        ("there is no scan 'x-ray'", "x-ray", sinograms),
        ("there is no scan 'fourier 3'", "fourier 3", sinograms),
        ("say by radon", "fourier", sinograms),
        ("all of one size", "radon", [*sinograms, torch.zeros(2, 13)]),
        ("nowhere.npy", "radon nowhere.npy", sinograms),
    ):
        with pytest.raises((UserError, UnreadableError), match=words):
            ScoreInverse(steps=3, by=by).apply(prior, data, **QUIET)
    known = torch.ones(2, 1, 3, 12, dtype=torch.bool)
    with pytest.raises(UserError, match=r"known is \(2, 1, 3, 12\)"):
        ScoreInverse(steps=3, by="radon").apply(prior, sinograms, known, **QUIET)
    for words, how, data in bad:
        method = replace(ScoreInverse(steps=3, image="real"), **how)
        with pytest.raises(UserError, match=words):
            method.apply(prior, list(data), operator=a, **QUIET)
