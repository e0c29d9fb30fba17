"""Random changes of training pictures, each a pure function of (picture, generator)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .resize import area


def brain(image: Tensor, generator: torch.Generator) -> Tensor:
    """Another head, scanner and session: shape, sharpness, contrast, bias and noise of a slice.

    One head is too few to learn what heads look like. The shape changes by a small affine map
    (rotation <= 8 degrees, scale 0.88..1.1 per axis, shear, shift <= 3 % of the width, mirror)
    and a smooth displacement field. An unsharp mask of random strength gives back the folds that
    an averaged head has lost. The contrast changes by a gamma of 0.75..1.3 and a gain of
    0.9..1.08, a smooth multiplicative field of +-8 % imitates coil sensitivity, and Gaussian
    noise of standard deviation 0..0.02 (white at 1) is added inside the head only.

    Args:
        image: float32 (1, H, W) in [-1, 1]; the background is -1.
        generator: source of every random number; its state advances.

    Returns:
        float32 (1, H, W) in [-1, 1]; the background stays -1.
    """
    unit = (image + 1) / 2
    unit = F.grid_sample(unit[None], _warp(unit, generator), padding_mode="zeros", align_corners=False)[
        0
    ].clamp(0, 1)
    # Zero in the background and rising over the rim, so that the background stays exact.
    inside = (unit * 8).clamp(max=1)
    blurred = F.avg_pool2d(unit, 3, stride=1, padding=1, count_include_pad=False)
    unit = (unit + _between(generator, 0.0, 1.5) * inside * (unit - blurred)).clamp(0, 1)
    gamma = math.exp(_between(generator, math.log(0.75), math.log(1.3)))
    gain = _between(generator, 0.9, 1.08)
    field = 1 + 0.08 * _smooth(generator, 1, 3, unit.shape[-2:])
    noise = _between(generator, 0.0, 0.02) * torch.randn(unit.shape, generator=generator)
    unit = gain * unit.pow(gamma) * field + noise * inside
    return (unit * 2 - 1).clamp(-1, 1)


def crop(image: Tensor, generator: torch.Generator, side: int) -> Tensor:
    """A square part of a picture, seen nearer: its side is drawn evenly in the logarithm from `side`, or half
    of the picture's shorter side where that is more, up to the whole shorter side.

    Args:
        image: float32 (C, H, W) in [-1, 1], H and W >= side.
        generator: source of every random number; its state advances.
        side: pixels of what comes out, by area averaging.

    Returns:
        float32 (C, side, side) in [-1, 1].
    """
    height, width = image.shape[-2:]
    whole = min(height, width)
    least = max(side, whole // 2)
    cut = round(math.exp(_between(generator, math.log(least), math.log(whole))))
    top, left = (int(torch.randint(n - cut + 1, (), generator=generator)) for n in (height, width))
    return area(image[None, :, top : top + cut, left : left + cut], side, side)[0]


def rotate_hue(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate the hue of every picture by its own angle; grey, black and white do not change.

    The rotation is that of the HSV colour model: saturation and value of a pixel are kept.

    Args:
        images: float32 (N, 3, H, W) in [-1, 1].
        degrees: float (N,), any range.

    Returns:
        float32 (N, 3, H, W) in [-1, 1].
    """
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    red, green, blue = images.unbind(1)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sector = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sector = sector + degrees.to(images).view(-1, 1, 1) / 60
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + sector) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)


def with_labels(
    images: Tensor, labels: Tensor, generator: torch.Generator, shift: int, mirror: bool, hue: bool
) -> tuple[Tensor, Tensor]:
    """Each picture with its label map mirrored, shifted and hue-turned at random, as one.

    Args:
        images: float32 (N, C, H, W) in [-1, 1].
        labels: int64 (N, H, W).
        generator: source of every random number; its state advances.
        shift: largest shift in pixels; what comes in at the rim repeats the border.
        mirror: whether half of the pictures are mirrored, left to right.
        hue: whether the hue of each picture in colour is turned.

    Returns:
        Pictures and label maps of the same shapes.
    """
    n, (height, width) = len(images), images.shape[-2:]
    x = F.pad(images, (shift,) * 4, mode="replicate")
    y = F.pad(labels[:, None].float(), (shift,) * 4, mode="replicate").long()[:, 0]
    mirrored = (torch.rand(n, generator=generator) < 0.5) & mirror
    corners = torch.randint(2 * shift + 1, (n, 2), generator=generator).tolist()
    rows: list[tuple[Tensor, Tensor]] = []
    for i, (top, left) in enumerate(corners):
        cut = (slice(top, top + height), slice(left, left + width))
        one, its = x[i][:, cut[0], cut[1]], y[i][cut]
        rows.append((one.flip(-1), its.flip(-1)) if mirrored[i] else (one, its))
    x, y = (torch.stack(v) for v in zip(*rows, strict=True))
    if hue and x.shape[1] == 3:
        x = rotate_hue(x, 360 * torch.rand(n, generator=generator))
    return x, y


def _between(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _smooth(
    generator: torch.Generator, channels: int, nodes: int, size: tuple[int, ...] | torch.Size
) -> Tensor:
    """A field (channels, H, W) in about [-1, 1] that varies over 1/nodes of the picture."""
    coarse = torch.rand(1, channels, nodes, nodes, generator=generator) * 2 - 1
    return F.interpolate(coarse, size=tuple(size), mode="bicubic", align_corners=True)[0]


def _warp(unit: Tensor, generator: torch.Generator) -> Tensor:
    """Sampling grid (1, H, W, 2): small affine map plus a smooth displacement."""
    angle = math.radians(_between(generator, -8, 8))
    mirror = 1.0 if torch.rand((), generator=generator).item() < 0.5 else -1.0
    # The grid maps target to source, so a factor above one shrinks the head.
    sx, sy = (1 / _between(generator, 0.88, 1.1) for _ in range(2))
    shear = _between(generator, -0.06, 0.06)
    dx, dy = (_between(generator, -0.06, 0.06) for _ in range(2))
    c, s = math.cos(angle), math.sin(angle)
    theta = torch.tensor(
        [[mirror * sx * c, sx * (shear * c - s), dx], [mirror * sy * s, sy * (shear * s + c), dy]]
    )
    grid = F.affine_grid(theta[None], [1, *unit.shape], align_corners=False)
    bend = 0.05 * _smooth(generator, 2, 5, unit.shape[-2:])
    return grid + bend.permute(1, 2, 0)
