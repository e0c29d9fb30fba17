"""What the encoder is shown of a region: it as it is, and turned, shifted and in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.noise import Stream

TURN, SHIFT, BEND, OFTEN = 15.0, 0.1, 0.7, 0.7
"""Degrees; share of a side; share of the way of a corner to the middle; probability of either change."""
_CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
_NUMBERS = 13


@dataclass(frozen=True, eq=False)
class Views:
    """`count` views of a picture, the first of them plain, as the reference has them of kornia.

    With probability 0.7 each other one is turned by up to 15 degrees and shifted by up to a tenth of its
    side, the border going on; and with probability 0.7 each of its corners is moved inwards by up to 0.7 of
    the way to the middle, grey around.
    """

    channels: int
    side: int
    count: int = 1
    noise: Stream | None = None
    """Where the numbers come from that views differ by."""

    def draws(self, x: Tensor) -> Tensor:
        """Uniform numbers for new views of each picture of x (B, ...), (B, count - 1, 13)."""
        like = torch.empty(len(x), self.count - 1, _NUMBERS)
        return like if self.noise is None or self.count == 1 else self.noise.uniform(like)

    def plain(self, picture: Tensor) -> Tensor:
        """A picture (1, C, H, W) at the size and with the channels that the encoder reads."""
        small = min(picture.shape[-2:]) < self.side
        size = (self.side, self.side)
        shown = (
            F.interpolate(picture, size, mode="bilinear", antialias=True)
            if small
            else F.adaptive_avg_pool2d(picture, size)
        )
        return shown.expand(-1, self.channels, -1, -1)

    def __call__(self, picture: Tensor, draws: Tensor) -> Tensor:
        """Views (count, channels, side, side) of a picture (1, C, H, W); draws: its row of `draws`."""
        first = self.plain(picture)
        if self.count == 1:
            return first
        many = first.expand(self.count - 1, -1, -1, -1)
        places = F.affine_grid(
            torch.eye(2, 3, dtype=torch.float64)[None], [1, 1, self.side, self.side], False
        )
        ahead = torch.cat([places, torch.ones_like(places[..., :1])], -1).view(1, -1, 3)
        draws = draws.double().cpu()
        moved = _seen(many, ahead @ _turned(draws[:, :4]).mT, draws[:, 3], "border")
        bent = _seen(moved, ahead @ _bent(draws[:, 4:12]).mT, draws[:, 12], "zeros")
        return torch.cat([first, bent])


def _seen(x: Tensor, places: Tensor, chance: Tensor, around: str) -> Tensor:
    """x (K, C, S, S) at the homogeneous places (K, S S, 3) of each view whose chance has come."""
    grid = (places[..., :2] / places[..., 2:]).view(len(x), *x.shape[-2:], 2)
    changed = F.grid_sample(x, grid.to(x), padding_mode=around, align_corners=False)
    return changed.where((chance < OFTEN).to(x.device)[:, None, None, None], x)


def _turned(draws: Tensor) -> Tensor:
    """Maps (K, 3, 3) from places in a view to places in what it is a view of."""
    angle, right, down = ((2 * draws[:, :3] - 1) * torch.tensor([TURN, 2 * SHIFT, 2 * SHIFT])).unbind(1)
    cos, sin, nil = angle.deg2rad().cos(), angle.deg2rad().sin(), torch.zeros_like(angle)
    rows = [cos, -sin, right, sin, cos, down, nil, nil, nil + 1]
    return torch.stack(rows, 1).view(-1, 3, 3)


def _bent(draws: Tensor) -> Tensor:
    """Homographies (K, 3, 3) that bring corners moved inwards back to where they were."""
    x, y = (_CORNERS * (1 - BEND * draws.view(-1, 4, 2))).unbind(-1)
    u, v = _CORNERS.expand(len(draws), 4, 2).unbind(-1)
    one, nil = torch.ones_like(x), torch.zeros_like(x)
    across = torch.stack([x, y, one, nil, nil, nil, -u * x, -u * y], -1)
    along = torch.stack([nil, nil, nil, x, y, one, -v * x, -v * y], -1)
    solved = torch.linalg.solve(torch.cat([across, along], 1), torch.cat([u, v], 1))
    return F.pad(solved, (0, 1), value=1.0).view(-1, 3, 3)
