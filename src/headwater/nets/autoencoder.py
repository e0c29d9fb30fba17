"""A convolutional autoencoder: the baseline that heals a picture by squeezing it through a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class AutoencoderConfig:
    """Architecture. Raises ValueError when the side cannot be halved once per width."""

    channels: int = 1
    side: int = 32
    widths: tuple[int, ...] = (48, 96, 192)
    """Channels after each halving of the side."""
    latent: int = 64
    """Numbers that a picture is squeezed into."""

    def __post_init__(self) -> None:
        if not self.widths or self.side % 2 ** len(self.widths):
            raise ValueError(
                f"a side of {self.side} cannot be halved {len(self.widths)} times: choose other widths."
            )
        if self.latent < 1:
            raise ValueError("latent must be at least 1.")

    @property
    def coarse(self) -> int:
        """Side of the coarsest map."""
        return self.side // 2 ** len(self.widths)


class Autoencoder(nn.Module):
    """(B, channels, side, side) -> the same shape, in [-1, 1]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        size = config.widths[-1] * config.coarse**2
        down = [_down(a, b) for a, b in zip((config.channels, *config.widths), config.widths, strict=False)]
        back = config.widths[::-1]
        up = [_up(a, b) for a, b in zip(back, (*back[1:], back[-1]), strict=True)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(size, config.latent))
        self.expand = nn.Sequential(nn.Linear(config.latent, size), nn.SiLU())
        self.decoder = nn.Sequential(*up, nn.Conv2d(back[-1], config.channels, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """Encode and decode pictures in [-1, 1]."""
        coarse = self.config.coarse
        return self.decoder(self.expand(self.encoder(x)).unflatten(1, (-1, coarse, coarse)))

    def count(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters())


def _down(inside: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inside, out, 3, stride=2, padding=1), nn.GroupNorm(8, out), nn.SiLU())


def _up(inside: int, out: int) -> nn.Module:
    conv = nn.Conv2d(inside, out, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), conv, nn.GroupNorm(8, out), nn.SiLU())
