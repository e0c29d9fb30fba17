"""Measurements that are not linear: what they measure, and that gradients go through."""

from __future__ import annotations

import pytest
import torch

from arrays import close
from headwater.data import load
from headwater.noise import counted
from headwater.operators import JPEG, Measurement, Overexposed, PhaseRetrieval


@pytest.mark.parametrize(
    "a", [JPEG(20), Overexposed(3.0), PhaseRetrieval()], ids=["jpeg", "exposure", "phase"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_go_through(a: Measurement, channels: int) -> None:
    x = (torch.rand(2, channels, 12, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1).requires_grad_()
    y = a.forward(x)
    y.square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert float(x.grad.abs().mean()) > 1e-3
    with torch.no_grad():
        close(a.forward(x[1:]), y[1:].detach(), 1e-6)


@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("name", ["emoji", "digits"])
def test_jpeg_is_nearly_what_pillow_writes(name: str, quality: int) -> None:
    x = load(name, "test", 32).images[:8]
    ours, real = JPEG(quality).forward(x).clamp(-1, 1), JPEG(quality).real(x)
    apart, lost = float((ours - real).abs().mean()), float((x - real).abs().mean())
    assert apart < 1.5 * 2 / 255  # Pillow rounds to whole grey values at each of its steps
    assert apart < 0.4 * lost


@pytest.mark.parametrize("a", [Overexposed(1.5), PhaseRetrieval(), PhaseRetrieval(0.25)], ids=str)
def test_gradients_are_those_of_differences(a: Measurement) -> None:
    draws = torch.Generator().manual_seed(3)
    x, way = torch.rand(2, 2, 1, 6, 4, generator=draws, dtype=torch.float64)
    x = (x - 1).requires_grad_()  # no pixel so bright that it is cut off
    weights = torch.randn(a.forward(x).shape, generator=draws, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((a.forward(x) * weights).sum(), x)
    step = 1e-6 * way
    change = ((a.forward(x + step) - a.forward(x - step)) * weights).sum() / 2e-6
    close((gradient * way).sum(), change.detach(), 1e-6)


def test_magnitudes_do_not_tell_turns_and_shifts() -> None:
    """Nor does `aligned`, which undoes them for each picture on its own, and leaves other pictures alone."""
    a, image = PhaseRetrieval(), torch.full((3, 2, 10, 8), -1.0)
    image[..., 2:7, 1:6] = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(4)) * 2 - 1
    others = torch.stack([image[0], image[1].flip(-1, -2), image[2].roll((2, -1), (-2, -1))])
    close(a.forward(others), a.forward(image), 1e-5)
    close(a.aligned(others, image), image, 1e-6)
    full = torch.rand(1, 1, 10, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1
    assert torch.equal(a.aligned(full, full), full)
    assert Overexposed(2.0).aligned(full, image) is full


def test_photons() -> None:
    light = torch.tensor([-1.2, -1.0, 0.0, 1.0]).reshape(1, 1, 4, 1).expand(2, 1, 4, 5000)
    y = counted(light, 40, [1, 2])
    assert torch.equal(y[:, :, :2], torch.full_like(y[:, :, :2], -1))
    close(y.mean(-1)[..., 2:], torch.tensor([0.0, 1.0]).expand(2, 1, 2), 0.02)
    close(y.var(-1)[..., 2:], torch.tensor([2 / 40, 4 / 40]).expand(2, 1, 2), 0.006)
    assert torch.equal(y[1:], counted(light[1:], 40, [2]))
    assert not torch.equal(y[0], y[1])


def test_what_exposure_and_phase_lose() -> None:
    x = torch.tensor([[[[-1.0, -0.5, 0.2, 1.0]]]])
    close(Overexposed(2.0).forward(x), torch.tensor([[[[-1.0, 0.0, 1.0, 1.0]]]]))
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    y = PhaseRetrieval().forward(image)
    assert y.shape == (1, 1, 16, 16)
    close(PhaseRetrieval().forward(image.flip(-1, -2)), y, 1e-5)  # turned by 180 degrees it looks the same
    assert float((PhaseRetrieval().forward(image.flip(-1)) - y).abs().max()) > 0.05
