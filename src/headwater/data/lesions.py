"""Lesions for brain slices and defects for textures: test pictures with exact truth.

Every function is pure: the same picture and seed give the same result. They are for test
pictures only; a method that sees one in training has seen the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["lesion", "scratch", "blotch", "missing patch"]


@dataclass(frozen=True)
class Inserted:
    """A changed picture and what was done to it.

    Attributes:
        image: float32 (1, H, W) in [-1, 1].
        truth: bool (H, W), True where the picture was changed by at least half the contrast.
        kind: what was inserted.
        radius: half the size in pixels: mean radius of a blob, half length of a scratch.
        contrast: change of brightness on the scale of [-1, 1]; 0 for a missing patch.
        weight: float32 (H, W) in [0, 1], the share of the contrast that each pixel got; None for a patch.
    """

    image: Tensor
    truth: Tensor
    kind: Kind
    radius: float
    contrast: float
    weight: Tensor | None = None

    @property
    def description(self) -> str:
        """One phrase for tables and captions."""
        tone = "brighter" if self.contrast > 0 else "darker"
        change = f", {tone} by {abs(self.contrast):.2f}" if self.contrast else ""
        return f"{self.kind}, radius {self.radius:.1f} px{change}"


def lesion(
    image: Tensor,
    inside: Tensor,
    seed: int,
    *,
    radius: float | None = None,
    contrast: float | None = None,
    softness: float | None = None,
) -> Inserted:
    """Insert one soft-edged, irregular blob that lies inside the brain.

    Args:
        image: float32 (1, H, W) in [-1, 1].
        inside: bool (H, W), True in the brain.
        seed: decides the place, the outline, and what is not given.
        radius: mean radius in pixels; by default one of 4, 6, 9 and 13 % of the width.
        contrast: added brightness on the scale of [-1, 1], negative for darker; by default
            +-0.3, +-0.5 or +-0.8.
        softness: width of the rim in pixels: on it the weight falls from 0.73 to 0.27; by default 0.4
            and a tenth of the radius.

    Raises:
        ValueError: if the brain is empty or the shapes disagree.
    """
    if inside.shape != image.shape[-2:] or not inside.any():
        raise ValueError("the brain mask must have the picture's size and at least one pixel")
    generator = torch.Generator().manual_seed(seed)
    width = image.shape[-1]
    chosen = _pick(generator, (0.04, 0.06, 0.09, 0.13)) * width
    strength = _pick(generator, (-0.8, -0.5, -0.3, 0.3, 0.5, 0.8))
    radius = chosen if radius is None else radius
    contrast = strength if contrast is None else contrast
    centre = _deep_centre(inside, radius, generator)
    softness = 0.4 + 0.1 * radius if softness is None else softness
    weight = _blob(inside.shape, centre, radius, softness, generator) * inside
    truth = weight >= 0.5
    # The centre pixel stays part of the lesion however small and irregular it is.
    truth[centre] = True
    changed = (image + contrast * weight).clamp(-1, 1)
    return Inserted(changed, truth, "lesion", radius, contrast, weight)


def defect(image: Tensor, seed: int, kind: Kind | None = None) -> Inserted:
    """Insert one defect in a texture: a scratch, a blotch, or a missing patch.

    Args:
        image: float32 (1, H, W) in [-1, 1].
        seed: decides the place, size and contrast, and the kind if it is not given.
        kind: "scratch", "blotch" or "missing patch".

    Raises:
        ValueError: if the kind is another.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds: tuple[Kind, ...] = ("scratch", "blotch", "missing patch")
    drawn = kinds[int(torch.randint(3, (), generator=generator))]
    kind = drawn if kind is None else kind
    if kind not in kinds:
        raise ValueError(f"a defect is one of {', '.join(kinds)}, not {kind!r}")
    height, width = image.shape[-2:]
    radius = _between(generator, 0.06, 0.16) * width
    row = _between(generator, 0.2, 0.8) * height
    column = _between(generator, 0.2, 0.8) * width
    contrast = _pick(generator, (-0.7, -0.45, 0.45, 0.7))
    if kind == "missing patch":
        return _patch(image, (row, column), radius, generator)
    if kind == "scratch":
        radius *= 2
        weight = _scratch(image.shape[-2:], (row, column), radius, generator)
    else:
        weight = _blob(image.shape[-2:], (row, column), radius, 0.4 + 0.1 * radius, generator)
    changed = (image + contrast * weight).clamp(-1, 1)
    return Inserted(changed, weight >= 0.5, kind, radius, contrast, weight)


def _patch(image: Tensor, centre: tuple[float, float], radius: float, generator: torch.Generator) -> Inserted:
    """Replace a tilted rectangle by its mean: the texture is gone, the brightness is not."""
    along, across = _turned(image.shape[-2:], centre, _between(generator, 0, math.pi))
    ratio = _between(generator, 0.6, 1.0)
    truth = (along.abs() <= radius) & (across.abs() <= radius * ratio)
    level = image[0][truth].mean()
    return Inserted(torch.where(truth, level, image), truth, "missing patch", radius, 0.0)


def _scratch(
    size: torch.Size, centre: tuple[float, float], half: float, generator: torch.Generator
) -> Tensor:
    """Weight (H, W) of a slightly bent line with a width of 2 to 3 % of the picture."""
    along, across = _turned(size, centre, _between(generator, 0, math.pi))
    bend = _between(generator, -0.3, 0.3) / half
    thick = _between(generator, 0.01, 0.015) * size[-1] + 0.4
    distance = (across - bend * along.square()).abs()
    line = ((thick - distance) / 0.6 + 0.5).clamp(0, 1)
    return line * ((half - along.abs()) / 2 + 0.5).clamp(0, 1)


def _blob(
    size: torch.Size, centre: tuple[float, float], radius: float, softness: float, generator: torch.Generator
) -> Tensor:
    """Weight (H, W) in [0, 1] of a star-shaped blob; 0.5 on its outline."""
    rows, columns = _offsets(size, centre)
    angle = torch.atan2(rows, columns)
    outline = torch.ones(size)
    for wave in (2, 3, 4, 5):
        size_of_wave = 0.3 / wave * _between(generator, 0, 1)
        outline = outline + size_of_wave * torch.cos(wave * angle + _between(generator, 0, 6.2832))
    return torch.sigmoid((radius * outline - torch.hypot(rows, columns)) / softness * 2)


def _deep_centre(inside: Tensor, radius: float, generator: torch.Generator) -> tuple[int, int]:
    """A pixel whose surroundings are as brain-like as any: random among the deepest fits."""
    reach = max(1, round(radius))
    share = torch.nn.functional.avg_pool2d(
        inside.float()[None, None], 2 * reach + 1, stride=1, padding=reach
    )[0, 0]
    share = torch.where(inside, share, -1.0)
    fits = (share >= min(0.98, float(share.max()))).nonzero()
    row, column = fits[int(torch.randint(len(fits), (), generator=generator))].tolist()
    return row, column


def _offsets(size: torch.Size, centre: tuple[float, float]) -> tuple[Tensor, Tensor]:
    rows = torch.arange(size[0], dtype=torch.float32)[:, None] - centre[0]
    columns = torch.arange(size[1], dtype=torch.float32)[None] - centre[1]
    return rows.expand(tuple(size)), columns.expand(tuple(size))


def _turned(size: torch.Size, centre: tuple[float, float], angle: float) -> tuple[Tensor, Tensor]:
    rows, columns = _offsets(size, centre)
    c, s = math.cos(angle), math.sin(angle)
    return c * columns + s * rows, c * rows - s * columns


def _between(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _pick(generator: torch.Generator, options: tuple[float, ...]) -> float:
    return options[int(torch.randint(len(options), (), generator=generator))]
