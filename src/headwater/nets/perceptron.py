"""A residual perceptron on all pixels at once."""

from __future__ import annotations

from torch import Tensor, nn

from headwater.nets.adm_blocks import timestep_embedding


class Perceptron(nn.Module):
    """Residual blocks on all pixels at once: for 8 x 8 pictures thirty times cheaper than a U-Net.

    skip: add the input, weighted by a number that the timestep decides. Of more pixels than `width` nothing
        else can carry noise through, and a prediction of v leaves what it cannot carry in the picture.
    """

    def __init__(self, pixels: int, width: int = 256, blocks: int = 3, skip: bool = False) -> None:
        super().__init__()
        self.width = width
        self.inward, self.time = nn.Linear(pixels, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, pixels))
        self.skip = nn.Linear(width, 1) if skip else None

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, C, H, W)."""
        time = timestep_embedding(label, self.width).to(x)
        h = self.inward(x.flatten(1)) + self.time(time)
        for block in self.blocks:
            h = h + block(h)
        found = self.outward(h).view_as(x)
        return found if self.skip is None else found + self.skip(time)[:, :, None, None] * x
