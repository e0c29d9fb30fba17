"""SR3 where the answer is known: large pictures that differ from what is seen by white noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.methods.restoration.shared.pictured import Betas, PicturedConfig, draw_pictured
from headwater.methods.restoration.sr3.method import SR3, FittedSR3, resized
from headwater.nets.level_unet import LevelArchitecture, LevelUNetConfig
from headwater.operators import resizing
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig

SPREAD = 0.1
QUIET: RunOptions = {"seed": 0, "progress": False}
TINY = SR3(steps=2, network=LevelArchitecture(32, (1,), 1, ()), training=TrainerConfig(2, 2))


class Exact(nn.Module):
    """eps of data N(what is seen, SPREAD^2) at signal level a: a s^2 x_0's share of x taken away."""

    def forward(self, x: Tensor, level: Tensor, features: Tensor) -> Tensor:
        a = level.reshape(-1, 1, 1, 1).to(x)
        variance = 1 - a * a
        return variance.sqrt() * (x - a * features) / (a * a * SPREAD**2 + variance)


def exact(side: int) -> FittedSR3:
    config = PicturedConfig(LevelUNetConfig(), (3, side, side), Betas(400, 1e-4, 0.04))
    return FittedSR3(Exact(), config)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("betas", "narrower"), [(Betas(1000, 1e-4, 0.02), 0.06), (Betas(400, 1e-4, 0.04), 0.1)]
)
def test_any_chain_draws_what_is_seen_and_the_spread_that_it_leaves_open(
    betas: Betas, narrower: float
) -> None:
    # The network is told levels: a chain that it was not made for gives the same law. Fewer steps of the
    # smaller variance draw somewhat narrower.
    seen = torch.linspace(-0.5, 0.5, 3 * 16 * 16).reshape(1, 3, 16, 16)
    drawn = draw_pictured(exact(16), seen, betas, betas.T, Run(**QUIET), draws=32)
    away = drawn - seen
    assert float(away.mean()) == pytest.approx(0, abs=4 * SPREAD / away.numel() ** 0.5)
    assert (1 - narrower) * SPREAD < float(away.std()) < 1.01 * SPREAD


def test_one_enlargement_after_another_adds_up_what_each_leaves_open() -> None:
    """8 to 16 to 32 pixels: the mean is the small picture enlarged twice; the first spread is enlarged."""
    seen = torch.linspace(-0.4, 0.4, 3 * 8 * 8).reshape(1, 3, 8, 8).expand(24, -1, -1, -1)
    method, image = SR3(factor=2, steps=400, start=1e-4, end=0.04), seen
    for side in (16, 32):
        twice = exact(side)
        twice = replace(twice, config=replace(twice.config, factor=2))
        image = method.apply(image, twice, **{**QUIET, "seed": side})
    away = image - resized(resized(seen[:1], 16, 16), 32, 32)
    rows = resizing(16, 32).square().sum(1)
    spread = SPREAD * (1 + rows[:, None] * rows).sqrt()
    assert float(away.mean()) == pytest.approx(0, abs=0.005)
    # Without what the first left open this is 0.78.
    assert float((away.std((0, 1)) / spread).mean()) == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize(("factor", "height", "width"), [(2, 16, 12), (3, 12, 24), (4, 16, 16), (8, 16, 24)])
def test_any_factor_that_the_sides_are_multiples_of(factor: int, height: int, width: int) -> None:
    method = replace(TINY, factor=factor)
    image = torch.rand(3, 1, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fitted = method.fit(image, **QUIET)
    small = method.small(image)
    assert small.shape == (3, 1, height // factor, width // factor)
    assert method.apply(small, fitted, **QUIET).shape == image.shape


def test_crops_are_parts_of_the_pictures_at_the_size_that_is_learnt() -> None:
    place = torch.linspace(-1, 1, 20)[:, None] + torch.zeros(30)
    image = torch.stack([place, place / 2])[:, None]
    method = replace(TINY, factor=2, crop=8)
    assert method.fit(image, **QUIET).shape == (1, 8, 8)
    pairs, rows = method.pairs(image, 3), torch.tensor([0, 1, 1])
    (low, high), again, other = pairs(rows, 5), pairs(rows, 5), pairs(rows, 6)
    assert torch.equal(high, again[1])
    assert not torch.equal(high, other[1])
    torch.testing.assert_close(low, resized(method.small(high), 8, 8))
    rise = (high[:, 0, -1, 0] - high[:, 0, 0, 0]) * torch.tensor([1.0, 2.0, 2.0])  # 8 rows of 10 to 20
    assert bool(((rise > 0.7) & (rise < 2)).all())
    whole = replace(method, crop=20, mirror=False).pairs(image[..., :20], 3)(rows, 5)[1]
    torch.testing.assert_close(whole, image[rows, :, :, :20])


def test_pictures_are_made_small_and_large_bicubically() -> None:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for size, edge in (((8, 8), 2), ((64, 64), 8)):  # edges are mirrored here
        ours = resized(x, *size)
        theirs = nn.functional.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
        ours, theirs = (v[..., edge:-edge, edge:-edge] for v in (ours, theirs.clamp(-1, 1)))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert SR3(factor=2).evaluate(x, x, resized(x, 16, 16))["consistency"] == 0


def test_what_cannot_be_is_said() -> None:
    x = torch.zeros(2, 3, 30, 30)
    for factor in (4, 7, 8):
        with pytest.raises(UserError, match=f"cannot be made {factor} times smaller: resize or crop"):
            SR3(factor=factor).fit(x, **QUIET)
    with pytest.raises(UserError, match="cannot be made 4 times smaller"):
        SR3(factor=4, crop=18).fit(x, **QUIET)
    with pytest.raises(UserError, match="crop is 32: give a side of up to 30 pixels"):
        SR3(factor=4, crop=32).fit(x, **QUIET)
    with pytest.raises(UserError, match="multiples of 16 a side"):
        SR3(factor=2).fit(x, **QUIET)
    for betas in ((0, 1e-4, 0.1), (9, 0.5, 0.1), (9, 0.0, 0.1)):
        with pytest.raises(UserError):
            Betas(*betas)
    fitted = replace(exact(16), config=replace(exact(16).config, factor=4))
    with pytest.raises(UserError, match=r"this network enlarges \(3, 4, 4\) 4 times"):
        SR3().apply(torch.zeros(1, 3, 8, 8), fitted, **QUIET)
