"""A view says what the denoiser behind it says, in other units."""

from __future__ import annotations

import pytest
import torch

from closed_form import F64, Exact
from headwater.core import Ancestral, Diffusion, White, descend, last, reverse
from headwater.core.schedule import betas, geometric
from headwater.core.views import View, exploding

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
    with pytest.raises(ValueError, match="as many levels"):
        View(Exact(VP, 0.0, 1.0), Diffusion.ve(geometric(49)))
    with pytest.raises(ValueError, match="pure noise"):
        exploding(Exact(Diffusion.flow(10), 0.0, 1.0))
