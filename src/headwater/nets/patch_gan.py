"""A discriminator of patches: each number that it answers is about one place of the picture.

Sources: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", sec. 3.2.2 and
6.1.2; Zhu et al. 2017 for the least squares and the pool of earlier fakes. Parameter names are those that
pix2pix and CycleGAN gave it, which DARL kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.errors import need


@dataclass(frozen=True)
class PatchArchitecture:
    """What one chooses of the network."""

    width: int = 64
    """Number of channels of its first layer, doubled in each further one up to eight times."""
    layers: int = 3
    """Number of layers that halve the picture: 3 see patches of 70 x 70 pixels."""

    def __post_init__(self) -> None:
        enough = self.width >= 1 and self.layers >= 1
        need(enough, f"width and layers are {self.width} and {self.layers}: give 1 or more of both")

    @property
    def least(self) -> int:
        """Smallest side of a picture about which it can say anything."""
        return 3 * 2**self.layers


class PatchGAN(nn.Module):
    """(B, C, H, W) -> (B, 1, h, w): 1 where a patch looks real, 0 where it looks made."""

    def __init__(self, architecture: PatchArchitecture, channels: int = 1) -> None:
        super().__init__()
        width = architecture.width
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        held = width
        for i in range(1, architecture.layers + 1):
            out, stride = width * min(2**i, 8), 2 if i < architecture.layers else 1
            layers += [nn.Conv2d(held, out, 4, stride, 1), nn.InstanceNorm2d(out), nn.LeakyReLU(0.2)]
            held = out
        self.model = nn.Sequential(*layers, nn.Conv2d(held, 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """H and W are `PatchArchitecture.least` or more."""
        return self.model(image)


def looks_real(found: Tensor) -> Tensor:
    """What a generator loses to least squares, from a discriminator's answers to what it made."""
    return (found - 1).square().mean()


def told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator loses to least squares, from its answers."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


class Pool(nn.Module):
    """The last fakes: half of the time a discriminator is shown one of them for a new one, which stays.

    They are buffers, so that a checkpoint keeps them and a training that goes on finds them again.
    """

    fakes: Tensor
    held: Tensor

    def __init__(self, size: int, *shape: int) -> None:
        super().__init__()
        self.register_buffer("fakes", torch.zeros(size, *shape))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, new: Tensor, draws: torch.Generator) -> Tensor:
        """What to show in place of new fakes (B, C, H, W)."""
        shown = list[Tensor]()
        for fake in new.detach():
            held, size = int(self.held), len(self.fakes)
            place, swap = (
                int(torch.randint(max(held, 1), (), generator=draws)),
                torch.rand((), generator=draws),
            )
            if held < size:
                self.fakes[held] = fake
                self.held += 1
            elif size and float(swap) < 0.5:
                fake, self.fakes[place] = self.fakes[place].clone(), fake
            shown.append(fake)
        return torch.stack(shown)
