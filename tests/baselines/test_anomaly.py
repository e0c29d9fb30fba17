"""Baselines of anomaly detection: the autoencoder learns, the mean is of neighbours."""

from __future__ import annotations

import pytest
import torch

from headwater.baselines.anomaly import AutoencoderBaseline, mean_of_neighbours
from headwater.sampling import Run

IMAGE = torch.stack([torch.full((1, 16, 16), v) for v in (-0.5, 0.0, 0.5)]).repeat(8, 1, 1, 1)


def test_the_autoencoder_learns_and_repeats() -> None:
    baseline = AutoencoderBaseline(60, 8, widths=(16, 16), latent=4)
    network, same = (baseline.fit(IMAGE, progress=False) for _ in range(2))
    assert (network.reconstruct(IMAGE, Run()) - IMAGE).square().mean() < 0.02
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))


def test_the_mean_is_of_neighbours() -> None:
    place = torch.tensor([0, 1, 10] * 8)
    found = mean_of_neighbours(place[:3], IMAGE, place, reach=1)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([-0.25, -0.25, 0.5]))
    with pytest.raises(ValueError, match="larger reach"):
        mean_of_neighbours(torch.tensor([5]), IMAGE, place, reach=2)
