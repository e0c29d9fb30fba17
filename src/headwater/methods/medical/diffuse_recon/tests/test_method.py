"""The prior of pairs: trained on volumes of k-space by its recipe, and used on files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from headwater.cli import main
from headwater.data.kspace import open_magnitude
from headwater.errors import UserError
from headwater.methods.catalogue import entry
from headwater.methods.medical.diffuse_recon.method import DiffuseRecon
from headwater.methods.medical.diffuse_recon.volumes import Windows
from headwater.nets.wrappers import complex_channels, real_channels
from headwater.operators import Fourier
from headwater.training import Recipe, fit
from headwater.training.pictures import gather

SIDE = 8
FOURIER = Fourier("centred")


def volume(slices: int, seed: int) -> Tensor:
    """Complex images (slices, H, W)."""
    draw = torch.Generator().manual_seed(seed)
    return torch.view_as_complex(torch.rand(slices, SIDE, SIDE, 2, generator=draw)) * 50


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """A folder of a volume of 3 slices as .npy and one of 4, the last of them empty, as fastMRI's .h5."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    np.save(folder / "a.npy", FOURIER.forward(volume(3, 0)).numpy())
    with h5py.File(folder / "b.h5", "w") as file:
        k = FOURIER.forward(volume(4, 1)).numpy()
        k[2:] = 0
        file["kspace"] = k
    return folder


def tiny(data: Path) -> Recipe:
    found = Recipe.load(entry("diffuse-recon").folder / "recipes/prior/small.yaml")
    network = replace(found.network, model_channels=32, channel_mult=(1,), attention_resolutions=())
    training = replace(found.training, steps=2, batch_size=2, warmup=1)
    return replace(found, data=str(data), shape=(4, SIDE, SIDE), network=network, training=training)


def test_neighbours_are_paired_and_scaled_by_their_largest_value(volumes: Path) -> None:
    pairs = gather(tiny(volumes)).images[torch.arange(4)]
    assert len(pairs) == 4  # 2 and 2; the pair of empty slices is left out
    torch.testing.assert_close(pairs.abs().amax((1, 2, 3)), torch.ones(4))
    a = volume(3, 0)
    wanted = torch.stack([a[1].real, a[1].imag, a[2].real, a[2].imag])
    torch.testing.assert_close(pairs[1], wanted / wanted.abs().max(), rtol=1e-5, atol=1e-5)
    assert torch.equal(real_channels(complex_channels(pairs)), pairs)


def test_what_is_no_volume_is_said(volumes: Path) -> None:
    np.save(volumes / "a.npy", FOURIER.forward(volume(1, 0))[0].numpy())
    with pytest.raises(UserError, match=r"k-space \(8, 8\): for pairs of slices give volumes"):
        gather(tiny(volumes))
    np.save(volumes / "a.npy", FOURIER.forward(volume(1, 0)).numpy())
    (volumes / "b.h5").unlink()
    with pytest.raises(UserError, match="no two neighbouring slices"):
        gather(tiny(volumes))


def test_the_recipe_of_the_paper_builds_its_network() -> None:
    config = Recipe.load(entry("diffuse-recon").folder / "recipes/prior/paper.yaml").prior_config()
    with torch.device("meta"):
        network = config.build_network()
    assert (config.shape, config.process.T) == ((4, 320, 320), 4000)
    assert sum(p.numel() for p in network.parameters()) > 50e6


def test_a_prior_of_pairs_is_trained_and_reconstructs_files(volumes: Path, tmp_path: Path) -> None:
    prior = fit(tiny(volumes), tmp_path / "out", progress=False)
    assert prior.shape == (4, SIDE, SIDE)
    k = FOURIER.forward(volume(3, 5))
    k[..., ::3] = 0
    (tmp_path / "scans").mkdir()
    np.save(tmp_path / "scans" / "v.npy", k.numpy())
    options = ["--samples", "2", "--steps", "3", "--refine-steps", "1", "--device", "cpu", "--json"]
    given = ["--prior", str(tmp_path / "out" / "prior"), "--kspace", str(tmp_path / "scans")]
    out = tmp_path / "found"
    assert main(["apply", "diffuse-recon", *given, *options, "--out", str(out)]) == 0
    stored = open_magnitude(out / "magnitude")
    found = DiffuseRecon(samples=2, steps=3, refine_steps=1).apply(prior, [k], device="cpu", progress=False)
    assert len(stored) == 3
    for i in range(3):
        torch.testing.assert_close(stored[i], found.magnitude[0][i], rtol=1e-4, atol=1e-3)


def test_slices_and_pairs() -> None:
    k = volume(4, 2)
    pairs = Windows.of(k, torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool), 0, (SIDE, SIDE), "cpu")
    assert pairs.y.shape == (3, 2, SIDE, SIDE)
    torch.testing.assert_close(pairs.slices(pairs.y), k)
    torch.testing.assert_close(pairs.pairs(k), pairs.y)
