"""The six mask families of RePaint, as masks of KNOWN pixels (Lugmayr et al. 2022, sec. 5.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Family = Callable[[int, int, torch.Generator], Tensor]


def _strokes(height: int, width: int, generator: torch.Generator, share: float, thickness: float) -> Tensor:
    """Random brush strokes until `share` of the picture is hidden; thickness as a part of its size."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([rows, columns], -1).float()
    radius = max(0.6, thickness * min(height, width) / 2)
    scale = torch.tensor([height, width], dtype=torch.float32)
    hidden = torch.zeros(height, width, dtype=torch.bool)
    here = torch.rand(2, generator=generator) * scale
    while hidden.float().mean() < share:
        there = torch.rand(2, generator=generator) * scale
        along = there - here
        at = ((points - here) @ along / along.square().sum()).clamp(0, 1)
        hidden |= (points - here - at[..., None] * along).norm(dim=-1) <= radius
        here = there
    return ~hidden


def wide(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Thick strokes hide about two fifths."""
    return _strokes(height, width, generator, 0.4, 0.25)


def narrow(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Thin strokes hide about a quarter."""
    return _strokes(height, width, generator, 0.25, 0.06)


def super_resolution(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Every second pixel of every second row is known."""
    known = torch.zeros(height, width, dtype=torch.bool)
    known[::2, ::2] = True
    return known


def alternating_lines(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Every second row is known."""
    known = torch.zeros(height, width, dtype=torch.bool)
    known[::2] = True
    return known


def half(height: int, width: int, generator: torch.Generator) -> Tensor:
    """The left half is known."""
    known = torch.zeros(height, width, dtype=torch.bool)
    known[:, : width // 2] = True
    return known


def expand(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Only the middle is known, half as wide and half as high as the picture."""
    known = torch.zeros(height, width, dtype=torch.bool)
    known[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return known


FAMILIES: dict[str, Family] = {
    "wide": wide,
    "narrow": narrow,
    "super-resolve 2x": super_resolution,
    "alternating lines": alternating_lines,
    "half": half,
    "expand": expand,
}


def known_pixels(family: str, n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """n masks of one family, (n, 1, height, width) bool, True where the pixel is known.

    Mask i depends on seed and i alone. Raises ValueError for an unknown family.
    """
    if family not in FAMILIES:
        raise ValueError(f"no mask family is called {family!r}: choose one of {', '.join(FAMILIES)}")
    draw = FAMILIES[family]
    masks = [draw(height, width, torch.Generator().manual_seed(seed * 1_000_003 + i)) for i in range(n)]
    return torch.stack(masks)[:, None]
