"""Sample sheets: what a prior draws as training goes on, always from the same seeds."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from headwater.core import DDIM
from headwater.core.timesteps import respaced
from headwater.models.prior import Prior


def draw(prior: Prior, n: int, seed: int, steps: int = 25) -> Tensor:
    """n pictures (n, C, H, W) in [-1, 1] by few-step DDIM; classes in turn for a conditional prior."""
    cond = {}
    if prior.config.classes:
        cond["y"] = torch.arange(n) % len(prior.config.classes)
    T = prior.process.T
    plan = respaced(T, min(steps, T))
    device = str(next(prior.network.parameters()).device)
    training = prior.network.training
    prior.network.eval()
    try:
        return prior.sample(n, plan, DDIM(), cond, seed=seed, device=device, progress=False).float()
    finally:
        prior.network.train(training)


def grid(images: Tensor, columns: int = 8) -> Image.Image:
    """Pictures (N, C, H, W) in [-1, 1] side by side; channels beyond gray or RGB are left out."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    colours = 3 if channels >= 3 else 1
    sheet = torch.full((colours, rows * height, columns * width), -1.0)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        sheet[:, top : top + height, left : left + width] = image[:colours]
    pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.squeeze(-1).numpy())


def write(path: Path, images: Tensor) -> None:
    """Save a sheet as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(images).save(path)
