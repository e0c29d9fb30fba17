"""Measurements that are not linear: what they measure, and that gradients go through."""

from __future__ import annotations

import pytest
import torch

from arrays import close
from headwater.data import load
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


def test_what_exposure_and_phase_lose() -> None:
    x = torch.tensor([[[[-1.0, -0.5, 0.2, 1.0]]]])
    close(Overexposed(2.0).forward(x), torch.tensor([[[[-1.0, 0.0, 1.0, 1.0]]]]))
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    y = PhaseRetrieval().forward(image)
    assert y.shape == (1, 1, 16, 16)
    close(PhaseRetrieval().forward(image.flip(-1, -2)), y, 1e-5)  # turned by 180 degrees it looks the same
    assert float((PhaseRetrieval().forward(image.flip(-1)) - y).abs().max()) > 0.05
