"""What Palette learns to undo: each task makes of a picture what the network will see of it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from headwater.data.holes import narrow, wide
from headwater.operators import JPEG, Grey

Task = Literal["inpaint", "uncrop", "colourise", "jpeg"]
HOLES = {"inpaint", "uncrop"}
"""Tasks in which a part of the picture is known."""


def damaged(
    image: Tensor, task: Task, quality: tuple[int, int], draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What is seen of a picture (C, H, W), and which pixels of it are known, (1, H, W), for a random damage.

    quality: lowest and highest of JPEG files, which are real ones.
    """
    height, width = image.shape[-2:]
    nothing = torch.zeros(1, height, width, dtype=torch.bool)
    match task:
        case "colourise":
            return grey(image[None])[0], nothing
        case "jpeg":
            of = int(torch.randint(quality[0], quality[1] + 1, (), generator=draws))
            return JPEG(of).real(image[None])[0], nothing
        case "inpaint" | "uncrop":
            known = (hole if task == "inpaint" else window)(height, width, draws)[None]
            return image.where(known, torch.randn(image.shape, generator=draws)), known


def grey(image: Tensor) -> Tensor:
    """Colour pictures (B, 3, H, W) without their colours, in three equal channels."""
    return Grey().forward(image).expand_as(image)


def hole(height: int, width: int, draws: torch.Generator) -> Tensor:
    """Known pixels around thick or thin strokes, or around a box of a quarter to a half of each side."""
    kind = int(torch.randint(3, (), generator=draws))
    if kind < 2:
        return (wide, narrow)[kind](height, width, draws)
    known = torch.ones(height, width, dtype=torch.bool)
    place = torch.rand(4, generator=draws).tolist()
    (top, bottom), (left, right) = (
        (round(at * (n - size)), round(at * (n - size)) + size)
        for n, share, at in zip((height, width), place[:2], place[2:], strict=True)
        for size in [round(n * (1 + share) / 4)]
    )
    known[top:bottom, left:right] = False
    return known


def window(height: int, width: int, draws: torch.Generator) -> Tensor:
    """Known pixels in the middle, with an eighth to a quarter hidden at each side, or a quarter to a half at
    one side only."""
    shares = (1 + torch.rand(4, generator=draws)) / 8
    one = int(torch.randint(8, (), generator=draws))
    if one < 4:
        shares = torch.where(torch.arange(4) == one, 2 * shares, 0.0)
    sides = torch.tensor([height, height, width, width])
    top, bottom, left, right = (shares * sides).round().long().tolist()
    known = torch.zeros(height, width, dtype=torch.bool)
    known[top : height - bottom, left : width - right] = True
    return known
