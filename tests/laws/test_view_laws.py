"""A view says what the denoiser behind it says, in other units."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from closed_form import F64, Exact
from headwater.core import Ancestral, Diffusion, Prediction, descend, last, reverse
from headwater.core.schedule import betas, geometric
from headwater.core.transition import LangevinMove, Level
from headwater.core.views import View, exploding
from headwater.noise import White

VP = Diffusion.vp(betas("linear", 50))


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.5, 0.5), (3.0, -2.0)])
@pytest.mark.parametrize("t", [1, 20, 50])
def test_a_gaussian_seen_otherwise_is_the_gaussian_of_those_units(scale: float, shift: float, t: int) -> None:
    view = exploding(Exact(VP, 0.3, 0.7), scale, shift)
    direct = Exact(view.process, scale * 0.3 + shift, scale * 0.7)
    x = torch.randn(4, 1, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    seen, own = view(x, t), direct(x, t)
    for name in ("x0", "eps", "score", "v"):
        torch.testing.assert_close(getattr(seen, name), getattr(own, name))
    levels = torch.tensor([1, 5, 20, 50])
    torch.testing.assert_close(view(x, levels).x0, direct(x, levels).x0)


def test_a_walk_through_a_view_is_the_same_walk() -> None:
    # Ancestral steps commute with the change of units, so the ends agree draw for draw.
    inside = Exact(VP, 0.3, 0.7)
    view = exploding(inside, 0.5, 0.5)
    x = torch.randn(2, 1, 4, 4, dtype=F64, generator=torch.Generator().manual_seed(1))
    alpha = VP.scales(50)[0]
    ends = [
        last(reverse(d, start, descend(50), Ancestral(), noise=White().stream([3, 4])))
        for d, start in ((inside, x), (view, 0.5 * x / alpha + 0.5))
    ]
    torch.testing.assert_close(ends[1], 0.5 * ends[0] + 0.5)


def test_there_and_back_is_the_denoiser_itself() -> None:
    inside = Exact(VP, 0.3, 0.7)
    back = View(exploding(inside, 0.5, 0.5), VP, 2.0, -1.0)
    x = torch.randn(2, 5, dtype=F64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(back(x, 30).x0, inside(x, 30).x0)


def test_another_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match="signal-to-noise"):
        View(Exact(VP, 0.0, 1.0), Diffusion.ve(geometric(50)))
    with pytest.raises(ValueError, match="no more levels"):
        View(Exact(VP, 0.0, 1.0), Diffusion.ve(geometric(VP.T + 1)))
    with pytest.raises(ValueError, match="some signal"):
        View(Exact(Diffusion.flow(10), 0.0, 1.0), Diffusion.ve(geometric(10)))


def test_a_level_of_pure_noise_is_left_out() -> None:
    inside = Exact(Diffusion.flow(10), 0.3, 0.7)
    view = exploding(inside, 0.5, 0.5)
    assert view.process.T == 9
    x = torch.randn(2, 5, dtype=F64, generator=torch.Generator().manual_seed(1))
    a = float(inside.process.alpha[9])
    torch.testing.assert_close(view(0.5 * x / a + 0.5, 9).x0, 0.5 * inside(x, 9).x0 + 0.5)


def test_each_part_of_a_complex_image_is_shifted() -> None:
    view = exploding(Exact(VP, 0.3, 0.7), 0.5, 0.5)
    parts = torch.randn(2, 2, 5, dtype=F64, generator=torch.Generator().manual_seed(2))

    def apart(x: torch.Tensor, t: int) -> torch.Tensor:
        return torch.complex(view(x.real, t).x0, view(x.imag, t).x0)

    class Both(Exact):
        def __call__(self, x: torch.Tensor, t: Level, previous: Any = None, **cond: Any) -> Prediction:
            real, imag = super().__call__(x.real, t), super().__call__(x.imag, t)
            return Prediction(x, t, torch.complex(real.x0, imag.x0), real.label, real.alpha, real.sigma)

    x = torch.complex(parts[0], parts[1])
    torch.testing.assert_close(exploding(Both(VP, 0.3, 0.7), 0.5, 0.5)(x, 20).x0, apart(x, 20))


def test_parts_of_a_langevin_move_have_lengths_of_their_own() -> None:
    draw = torch.Generator().manual_seed(3)
    x, score = (torch.randn(2, 1, 4, 4, dtype=torch.complex128, generator=draw) for _ in range(2))
    score = torch.complex(score.real, 9 * score.imag)
    noise = torch.randn(2, 1, 4, 4, dtype=torch.complex128, generator=draw)

    def moved(x: torch.Tensor, score: torch.Tensor, z: torch.Tensor, norms: Any) -> torch.Tensor:
        return LangevinMove(x, score, 0.16, 1.0, norms).sample(lambda like, level: z)

    both = moved(x, score, noise, "part")
    torch.testing.assert_close(both.real, moved(x.real, score.real, noise.real, "sample"))
    torch.testing.assert_close(both.imag, moved(x.imag, score.imag, noise.imag, "sample"))
    assert not torch.allclose(both, moved(x, score, noise, "sample"))
