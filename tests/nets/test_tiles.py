"""Priors of larger pictures: tiles that are blended."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import headwater as hw
from headwater.core import Denoiser
from headwater.errors import UserError
from headwater.nets.tiles import Tiled, places, tent


class Pixelwise(nn.Module):
    """An exact denoiser of Gaussian pixels, each by itself: what tiles answer is what the whole would."""

    def forward(self, x: Tensor, label: Tensor, shift: Tensor | None = None) -> Tensor:
        return x * 0.3 + label.reshape(-1, 1, 1, 1) / 1000 + (0 if shift is None else shift)


def test_tiles_lie_evenly() -> None:
    assert [columns.start for _, columns in places((16, 40), (16, 16), 0.25)] == [0, 12, 24]
    assert places((16, 16), (16, 16), 0.25) == [(slice(0, 16), slice(0, 16))]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("size", [(8, 8), (8, 9), (20, 31), (64, 24)])
def test_tiles_cover_a_picture_and_overlap_as_they_say(size: tuple[int, int], overlap: float) -> None:
    seen, found = torch.zeros(size), places(size, (8, 8), overlap)
    for rows, columns in found:
        assert rows.stop - rows.start == columns.stop - columns.start == 8
        seen[rows, columns] += 1
        assert float(tent((rows, columns), seen).min()) > 0
    assert float(seen.min()) >= 1
    firsts = sorted({rows.start for rows, _ in found})
    gaps = [b - a for a, b in pairwise(firsts)]
    assert all(gap <= max(1, 8 * (1 - overlap)) for gap in gaps)


def test_a_network_without_neighbours_answers_as_for_the_whole_and_has_its_gradient() -> None:
    network = Pixelwise()
    tiled = Tiled(network, (8, 8), 0.5)
    x = torch.randn(2, 3, 21, 17, requires_grad=True)
    label, shift = torch.tensor([5.0, 7.0]), torch.randn(2, 3, 21, 17)
    whole = network(x, label, shift=shift)
    assert torch.allclose(tiled(x, label, shift=shift), whole, atol=1e-6)
    (gradient,) = torch.autograd.grad(tiled(x, label).square().sum(), x)
    (wanted,) = torch.autograd.grad(network(x, label).square().sum(), x)
    assert torch.allclose(gradient, wanted, atol=1e-5)


def test_the_answer_is_the_picture_that_all_tiles_are_nearest_to() -> None:
    """MultiDiffusion's least squares: no other picture is nearer to the tiles, weighted as they are."""
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 5, padding=2)
    tiled = Tiled(lambda x, label: network(x), (8, 8), 0.5)  # pyright: ignore[reportArgumentType]
    x = torch.randn(1, 1, 12, 16)
    found = tiled(x, torch.zeros(1))

    def distance(picture: Tensor) -> Tensor:
        total = torch.zeros(())
        for place in places((12, 16), (8, 8), 0.5):
            rows, columns = place
            off = picture[..., rows, columns] - network(x[..., rows, columns])
            total = total + (tent(place, off) * off.square()).sum()
        return total

    asked = found.detach().requires_grad_()
    (slope,) = torch.autograd.grad(distance(asked), asked)
    assert float(slope.abs().max()) < 1e-4


def test_a_prior_draws_and_restores_at_any_larger_size() -> None:
    prior = hw.Prior.from_pretrained("photos").tiled(40, 48)
    assert isinstance(prior.denoiser, Denoiser)
    image = hw.load("photos", "test", 48).images[:1, :, :40]
    known = torch.ones(1, 1, 40, 48, dtype=torch.bool)
    known[..., 10:20, 10:30] = False
    filled = hw.RePaint(steps=3, jump=1, resample=1).apply(prior, image, known, seed=0, progress=False)
    assert torch.equal(filled.where(known, torch.zeros(())), image.where(known, torch.zeros(())))
    assert not torch.equal(filled, image)


def test_a_smaller_size_is_refused_and_tiles_are_not_saved(tmp_path: Path) -> None:
    prior = hw.Prior.from_pretrained("digits")
    with pytest.raises(UserError, match="32 x 32 and the size asked for is 20 x 40: give a larger one"):
        prior.tiled(20, 40)
    with pytest.raises(UserError, match="from 0 to below 1"):
        prior.tiled(40, 40, overlap=1.0).sample(1, 2, seed=0, progress=False)
    with pytest.raises(UserError, match="in tiles"):
        prior.tiled(40, 40).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
