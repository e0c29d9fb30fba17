"""What the claims of defences train."""

from __future__ import annotations

import torch

from headwater.data import load
from headwater.methods.robustness.shared.pictures import train_prior


def test_training_the_prior_learns() -> None:
    images = load("tiny", "train").images
    eps = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    gaps = []
    for steps in (1, 100):
        prior = train_prior(images, 0, steps, progress=False)
        x = prior.process.combine(images[:64], eps, 200)
        with torch.no_grad():
            gaps.append(float((prior.denoiser(x, 200).x0 - images[:64]).square().mean()))
    assert gaps[1] < 0.8 * gaps[0]
