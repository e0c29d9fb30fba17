"""Doubling a side, as it is and compiled."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from headwater.nets.upsampling import twice


class Doubling(nn.Module):
    """Convolutions around it, as in a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Conv2d(4, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.out = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.above(twice(self.below(x))))


def slope(model: Doubling, call: Callable[[Tensor], Tensor], x: Tensor, bf16: bool) -> Tensor:
    """The gradient that reaches the layer below."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = call(x)
    found.float().square().mean().backward()
    assert model.below.weight.grad is not None
    return model.below.weight.grad.clone()


def test_each_pixel_becomes_four() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    expected = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(twice(x), expected, rtol=0, atol=0)


@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler")
# Inductor, not we, uses what its own torch deprecates.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("bf16", [False, True])
def test_a_compiled_network_learns_below_it(bf16: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Doubling(), torch.randn(32, 4, 4, 4)
    expected = slope(model, model, x, bf16=False)
    torch.compiler.reset()
    found = slope(model, torch.compile(model), x, bf16)
    share = float((found - expected).norm() / expected.norm())
    assert share < (2e-2 if bf16 else 1e-5)
