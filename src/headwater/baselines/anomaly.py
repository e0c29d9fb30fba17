"""What an anomaly detector has to beat: an autoencoder of the healthy pictures, and their plain mean.

Both give reconstructions; the squared difference from the picture is the map, as for any other detector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from headwater.methods.base import Images
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions


class Autoencoder(nn.Module):
    """Images (B, 1, side, side) in [-1, 1] through `latent` numbers and back, in the same shape.

    widths: channels after each halving of the side.
    """

    def __init__(self, side: int = 32, widths: tuple[int, ...] = (48, 96, 192), latent: int = 64) -> None:
        super().__init__()
        self.coarse = side // 2 ** len(widths)
        size, back = widths[-1] * self.coarse**2, widths[::-1]
        down = [_down(a, b) for a, b in zip((1, *widths), widths, strict=False)]
        up = [_up(a, b) for a, b in zip(back, (*back[1:], back[-1]), strict=True)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(size, latent))
        self.expand = nn.Sequential(nn.Linear(latent, size), nn.SiLU())
        self.decoder = nn.Sequential(*up, nn.Conv2d(back[-1], 1, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.expand(self.encoder(x)).unflatten(1, (-1, self.coarse, self.coarse)))

    @torch.inference_mode()
    def reconstruct(self, image: Images, run: Run) -> Images:
        """Reconstructions of images (B, 1, side, side), in batches."""
        return torch.cat([self(batch.take(image)).cpu() for batch in run.batches(len(image))])


def _down(inside: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inside, out, 3, stride=2, padding=1), nn.GroupNorm(8, out), nn.SiLU())


def _up(inside: int, out: int) -> nn.Module:
    conv = nn.Conv2d(inside, out, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), conv, nn.GroupNorm(8, out), nn.SiLU())


@dataclass(frozen=True)
class AutoencoderBaseline:
    """An autoencoder of healthy pictures (Baur et al. 2021, AE)."""

    steps: int
    """Adam steps, the learning rate falling from 0.002 to 0 along half a cosine."""
    batch: int = 64
    """Images in a step."""
    widths: tuple[int, ...] = (48, 96, 192)
    latent: int = 64

    def fit(self, image: Images, **how: Unpack[RunOptions]) -> Autoencoder:
        """Train on healthy images (N, 1, side, side) in [-1, 1] by mean squared error."""
        run = Run(**how)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(run.seed, Purpose.AUTOENCODER, 0))
            network = Autoencoder(image.shape[-1], self.widths, self.latent).to(run.device)
        generator = torch.Generator().manual_seed(derive(run.seed, Purpose.AUTOENCODER, 1))
        optimiser = torch.optim.Adam(network.parameters(), 2e-3)
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda k: min(1, (k + 1) / 20) * (1 + math.cos(k / self.steps * math.pi)) / 2
        )
        for _ in run.track(range(self.steps), "autoencoder"):
            x = image[torch.randint(len(image), (self.batch,), generator=generator)].to(run.device)
            loss = (network(x) - x).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        return network.eval()


def mean_of_neighbours(place: Tensor, healthy: Images, its_place: Tensor, reach: float) -> Images:
    """For each of B pictures the mean of the healthy images (N, C, H, W) within `reach` of its place.

    place: (B,) where each picture comes from, such as the height of a slice in mm; its_place: (N,) the same
    of the healthy ones. Returns (B, C, H, W). Raises ValueError when a picture has no healthy neighbour.
    """
    near = ((place[:, None] - its_place[None]).abs() <= reach).to(healthy.dtype)
    if bool((near.sum(1) == 0).any()):
        raise ValueError("a picture has no healthy neighbour: choose a larger reach.")
    return torch.einsum("bn,nchw->bchw", near / near.sum(1, keepdim=True), healthy)
