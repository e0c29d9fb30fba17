"""SR3 where the answer is known: large pictures that differ from what is seen by white noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from headwater.errors import UserError
from headwater.methods.restoration.sr3.method import SR3, FittedSR3, resized
from headwater.methods.restoration.sr3.pictured import Betas, PicturedConfig, draw_pictured
from headwater.nets.level_unet import LevelUNetConfig
from headwater.sampling import Run

SPREAD = 0.1
QUIET = Run(0, progress=False)


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
    drawn = draw_pictured(exact(16), seen, betas, betas.T, QUIET, draws=32)
    away = drawn - seen
    assert float(away.mean()) == pytest.approx(0, abs=4 * SPREAD / away.numel() ** 0.5)
    assert (1 - narrower) * SPREAD < float(away.std()) < 1.01 * SPREAD


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
    with pytest.raises(UserError, match="cannot be made 8 times smaller: resize or crop"):
        SR3().fit(x, **QUIET)
    with pytest.raises(UserError, match="multiples of 16 a side"):
        SR3(factor=2).fit(x, **QUIET)
    for betas in ((0, 1e-4, 0.1), (9, 0.5, 0.1), (9, 0.0, 0.1)):
        with pytest.raises(UserError):
            Betas(*betas)
    fitted = replace(exact(16), config=replace(exact(16).config, factor=4))
    with pytest.raises(UserError, match=r"this network enlarges \(3, 4, 4\) 4 times"):
        SR3().apply(torch.zeros(1, 3, 8, 8), fitted, **QUIET)
