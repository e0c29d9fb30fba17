"""Song et al. 2022 against their published loop, written out: no arrays of the reference code exist.

The code conditions a noisy x before corrector and predictor: `merge_known_with_mask` on orthonormal centred
Fourier coefficients, whose mask here is symmetric so that the real part loses nothing. Its last predictor
move adds noise that one more denoising takes out; here the denoising comes at once, in its place. It starts
at pure noise, here around what was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import close
from closed_form import F64, Exact, Tape
from headwater.core import Diffusion
from headwater.core.loop import Step
from headwater.core.schedule import geometric
from headwater.core.transition import NoiseSource
from headwater.core.views import View
from headwater.methods.medical.score_inverse.method import ScoreInverse
from headwater.methods.medical.shared.scan import Scan
from headwater.sampling import Run

SIDE, N, SNR = 7, 12, 0.517
DRAW = torch.Generator().manual_seed(0)
MEAN = torch.rand(1, 1, SIDE, SIDE, generator=DRAW, dtype=F64)
STD = 0.1 + 0.3 * torch.rand(1, 1, SIDE, SIDE, generator=DRAW, dtype=F64)
SIGMAS = geometric(N, 0.01, 12.0)


def fourier(x: Tensor) -> Tensor:
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, (-2, -1))), (-2, -1)) / SIDE


def inverse(k: Tensor) -> Tensor:
    return (torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, (-2, -1))), (-2, -1)) * SIDE).real


def published(y: Tensor, mask: Tensor, coeff: float, tape: list[Tensor]) -> list[Tensor]:
    """x after each update, and after the last projection."""
    draws = iter(tape)

    def score(x: Tensor, sigma: float) -> Tensor:
        return (MEAN - x) / (STD**2 + sigma**2)

    def projected(x: Tensor, known: Tensor) -> Tensor:
        m = mask.double() * coeff
        return inverse(known * m + fourier(x) * (1 - m))

    def conditioned(x: Tensor, sigma: float) -> Tensor:
        return projected(x, y + sigma * fourier(next(draws)))

    def correct(x: Tensor, sigma: float) -> Tensor:
        z, grad = next(draws), score(x, sigma)
        step = 2 * (SNR * z.norm() / grad.norm()) ** 2
        return x + step * grad + (2 * step).sqrt() * z

    x, found = inverse(y) + SIGMAS[-1] * next(draws), list[Tensor]()
    for i in reversed(range(N)):
        sigma, below = float(SIGMAS[i]), float(SIGMAS[i - 1]) if i else 0.0
        x = correct(conditioned(x, sigma), sigma)
        found.append(x)
        x = conditioned(x, sigma)
        variance = sigma**2 - below**2
        x = x + variance * score(x, sigma)
        if i:
            x = x + variance**0.5 * next(draws)
            found.append(x)
    return [*found, projected(x, y)]


@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_the_loop(weight: float, replayed: Callable[[NoiseSource], list[Step]]) -> None:
    mask = torch.rand(1, 1, SIDE, SIDE, generator=DRAW) < 0.4
    mask = mask | mask.flip(-2, -1)
    truth = MEAN + STD * torch.randn(MEAN.shape, generator=DRAW, dtype=F64)
    y = fourier(truth) * mask
    tape = [torch.randn(MEAN.shape, generator=DRAW, dtype=F64) for _ in range(4 * N)]
    wanted = published(y, mask, weight, tape)

    exact = Exact(Diffusion.ve(SIGMAS), MEAN, STD)
    centred = View(exact, Diffusion.ve(2 * SIGMAS), 2.0, -1.0)  # as priors are, of pictures in [-1, 1]
    prior: Any = SimpleNamespace(denoiser=centred, noise=SimpleNamespace(stream=lambda seeds: None))
    steps = replayed(Tape(tape))
    scan = Scan(y, mask, torch.ones_like(y), real=True)
    found = ScoreInverse(weight=weight, image="real").sample(prior, scan, Run(device="cpu", progress=False))
    for step, x in zip(steps, wanted, strict=True):
        close(step.x, x, 1e-9)
    close(found[:, 0], wanted[-1][:, 0], 1e-9)
