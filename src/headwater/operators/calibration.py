"""What the fully measured centre of k-space tells of a scan: coil maps and phase, read from nothing else."""

# torch.fft and torch.linalg have no annotations.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import torch
from torch import Tensor

from headwater.errors import need
from headwater.operators.linear import Fourier

_CENTRED = Fourier("centred")
LARGEST = 24
"""Rows and columns around the origin that coil maps are read from at most."""
MOST = 0.9
"""Share of all directions beyond which those that are kept say nothing."""


def sum_of_squares(coil_images: Tensor) -> Tensor:
    """sqrt(sum_c |x_c|^2) over axis 1, (B, 1, H, W), real."""
    return coil_images.abs().square().sum(1, keepdim=True).sqrt()


def calibration_size(mask: Tensor) -> tuple[int, int]:
    """Height and width of the largest fully measured block around the origin of one mask (H, W), or 0, 0."""
    height, width = mask.shape
    best, found = 0, (0, 0)
    for rows in range(1, height + 1):
        full = mask[centred(height, rows)].all(0)
        columns = 0
        while columns < width and bool(full[centred(width, columns + 1)].all()):
            columns += 1
        if rows * columns > best:
            best, found = rows * columns, (rows, columns)
    return found


def centred(size: int, length: int) -> slice:
    """The `length` places around the origin of an axis, which is at size // 2."""
    start = size // 2 - length // 2
    return slice(start, start + length)


def low_resolution(kspace: Tensor, mask: Tensor) -> Tensor:
    """Coil images (B, C, H, W) from the calibration region of k-space alone, with a Hann window over it.

    mask: bool (B or 1, 1, H, W). An axis that is measured in full is not windowed.
    """
    window = torch.stack([_window(m[0]) for m in mask])[:, None].to(kspace.device)
    return _CENTRED.pseudo_inverse(kspace * window)


def _window(mask: Tensor) -> Tensor:
    sides: list[Tensor] = []
    for size, inside in zip(mask.shape, calibration_size(mask), strict=True):
        side = torch.zeros(size)
        hann = torch.hann_window(inside + 2, periodic=False)[1:-1]
        side[centred(size, inside)] = torch.ones(size) if inside == size else hann
        sides.append(side)
    return torch.outer(*sides)


def phase_of(image: Tensor) -> Tensor:
    """image / |image|, and 1 where it is 0."""
    size = image.abs()
    return torch.where(size > 0, image / torch.where(size > 0, size, 1), 1)


def coil_maps(kspace: Tensor, mask: Tensor, kernel: int | None = None, threshold: float = 0.02) -> Tensor:
    """Sensitivities (B, C, H, W) by ESPIRiT (Uecker et al. 2014), sum of squares 1 at every pixel.

    kspace: centred, (B, C, H, W); mask: bool (B or 1, 1, H, W). Patches of `kernel` x `kernel` x C samples
    of the calibration region, of which at most 24 x 24 around the origin are used, span a space; at each
    pixel the maps are the direction that this space leaves alone. That fixes them but for a phase, which is
    chosen so that the first coil is real.

    kernel: 6 where the region has 24 x 24, else 3, as the space of a smaller region cannot hold more.
    threshold: singular values below this share of the largest are left out, and, where there are more patches
    than directions, those that are noise by the optimal threshold (Gavish & Donoho 2014). Further out than
    24 there is little but noise, and a space that holds all of it leaves every direction alone.

    UserError where the region is smaller than a kernel, or where nearly all of the space is signal or noise
    alike, so that it says nothing of the coils.
    """
    maps = [
        _espirit(k, calibration_size(m[0]), kernel, threshold)
        for k, m in zip(kspace, mask.expand(len(kspace), -1, -1, -1), strict=True)
    ]
    return torch.stack(maps)


def _espirit(kspace: Tensor, region: tuple[int, int], kernel: int | None, threshold: float) -> Tensor:
    coils, height, width = kspace.shape
    region = (min(region[0], LARGEST), min(region[1], LARGEST))
    kernel = kernel or (6 if min(region) == LARGEST else 3)
    need(
        min(region) > kernel,
        f"the fully measured centre is {region[0]} x {region[1]}, too small for coil maps: measure at least "
        f"{kernel + 1} x {kernel + 1} there, or set combine to ssos",
    )
    block = kspace[:, centred(height, region[0]), centred(width, region[1])]
    patches = block.unfold(1, kernel, 1).unfold(2, kernel, 1).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    _, values, rows = torch.linalg.svd(patches, full_matrices=False)
    kept = values > torch.maximum(threshold * values[0], _noise(values, *patches.shape))
    need(
        bool(kept.any()) and int(kept.sum()) <= MOST * patches.shape[1],
        "the centre of k-space does not tell coils from noise: measure more of it, average scans, or set "
        "combine to ssos",
    )
    span = rows[kept].reshape(-1, coils, kernel, kernel)
    padded = kspace.new_zeros(len(span), coils, height, width)
    # A patch times a kernel is a correlation, hence the flip; its transform multiplies coil images.
    padded[..., centred(height, kernel), centred(width, kernel)] = span.conj().flip(-2, -1)
    images = _CENTRED.pseudo_inverse(padded).permute(2, 3, 0, 1)
    maps = torch.linalg.eigh(images.mH @ images)[1][..., -1].permute(2, 0, 1)
    return maps * phase_of(maps[:1]).conj()


def _noise(values: Tensor, rows: int, columns: int) -> Tensor:
    """The singular value below which a matrix holds noise of unknown size; 0 where there is none to speak of.

    Gavish & Donoho 2014, eq. 5: a multiple of the median, which lies among the values of noise as long as
    less than half of the directions are signal. Those of noise lie close together, while those of smooth
    maps fall off without end; with too few rows neither can be told.
    """
    if rows < columns or values[int(0.9 * len(values))] < 0.1 * values.median():
        return torch.zeros_like(values[0])
    b = columns / rows
    return (0.56 * b**3 - 0.95 * b**2 + 1.82 * b + 1.43) * values.median()
