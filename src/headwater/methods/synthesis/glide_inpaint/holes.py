"""Holes of captioned pictures: drawn for training and checked for use."""

from __future__ import annotations

import torch
from torch import Tensor

from headwater.errors import need
from headwater.methods.base import Texts


def rectangles(like: Tensor, erased: float) -> Tensor:
    """Masks (B,1,H,W) bool, False in a rectangle of each, or everywhere with probability `erased`.

    Sides are a quarter of the picture's or more; drawn from torch's global generator.
    """
    n, device = len(like), like.device
    inside = []
    for side in like.shape[-2:]:
        length = (0.25 + 0.65 * torch.rand(n, 1)) * side
        first = torch.rand(n, 1) * (side - length)
        place = torch.arange(side) + 0.5
        inside.append((place > first) & (place < first + length))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    whole = torch.rand(n, 1, 1, 1) < erased
    return (~(hole | whole)).to(device)


def check_hole(image: Tensor, known: Tensor, text: Texts, shape: tuple[int, int, int]) -> None:
    """UserError unless pictures, masks and captions belong together and fit the network."""
    need(
        image.shape[1:] == shape,
        f"the pictures are {tuple(image.shape[1:])}, this network draws {shape}: resize them",
    )
    need(
        len(image) == len(text),
        f"there are {len(image)} pictures and {len(text)} captions: give one caption for each picture",
    )
    fits = known.dtype == torch.bool and known.shape[1:] == (1, *shape[1:])
    need(
        fits and len(known) in (1, len(image)),
        f"the mask is {tuple(known.shape)} of {known.dtype}: give bool "
        f"({len(image)} or 1, 1, {shape[1]}, {shape[2]})",
    )
