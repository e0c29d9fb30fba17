"""A scan ready for reconstruction: stacked slices, their masks, phases or coil maps, and their scale.

Phase and coil maps are read from the fully measured centre of k-space, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from headwater.errors import need
from headwater.operators import Coils, Fourier, Operator, Sampled, Turned

_CENTRED = Fourier("centred")


@dataclass(frozen=True, eq=False)
class Scan:
    """Rows of k-space to be reconstructed each on its own: slices, or single coils of slices.

    y: (R, C, H, W) complex. mask: bool (R, 1, H, W). through: what multiplies the image before the Fourier
    transform: coil maps (R, C, H, W), or a phase of modulus 1 (R, 1, H, W) if there is one coil.
    gain: what y was multiplied with, (R, 1, 1, 1).
    """

    y: Tensor
    mask: Tensor
    through: Tensor
    gain: Tensor

    def rows(self, which: slice) -> Scan:
        """Some of the rows."""
        return Scan(self.y[which], self.mask[which], self.through[which], self.gain[which])

    def scaled(self, gain: Tensor) -> Scan:
        """The same with y times `gain` (R,)."""
        factor = gain.reshape(-1, 1, 1, 1)
        return replace(self, y=self.y * factor, gain=self.gain * factor)


def stacked(
    kspace: Sequence[Tensor], known: Tensor | None, size: tuple[int, int], device: str
) -> tuple[Tensor, Tensor]:
    """k-space (n, C, H, W), zero where it is not known, and masks bool (n, 1, H, W).

    Raises UserError for no slices, another size than `size`, slices of different numbers of coils, masks
    that do not fit, or a slice of which nothing was measured.
    """
    need(len(kspace) > 0, "there is no k-space: give at least one slice")
    slices = [k[None] if k.ndim == 2 else k for k in kspace]
    for k in slices:
        need(
            k.ndim == 3 and k.is_complex() and tuple(k.shape[1:]) == size,
            f"k-space is {tuple(k.shape)} of {k.dtype}, this prior draws {size}: crop k-space around its "
            "middle to that size, or take another prior",
        )
    counts = sorted({len(k) for k in slices})
    need(len(counts) == 1, f"slices have {counts} coils: reconstruct those of each number apart")
    y = torch.stack(slices).to(device)
    measured = (y != 0).any(1, keepdim=True)
    if known is not None:
        fits = known.dtype == torch.bool and known.shape[1:] == (1, *size) and len(known) in (1, len(y))
        need(fits, f"the mask is {tuple(known.shape)}: give bool ({len(y)} or 1, 1, {size[0]}, {size[1]})")
        measured = known.to(device).expand(len(y), -1, -1, -1)
    empty = [i + 1 for i, m in enumerate(measured & (y != 0).any(1, keepdim=True)) if not bool(m.any())]
    need(not empty, f"slice {empty[:1]} has nothing measured: leave it out")
    return y * measured, measured


def measured(y: Tensor, mask: Tensor, combine: Literal["sense", "ssos"], phased: bool) -> Scan:
    """A scan (n, C, H, W) as rows: n of them for `sense` and for one coil, n * C for `ssos`.

    phased: put the smooth phase of the image into the maps, so that the image sought is nearly real.
    """
    coils = y.shape[1]
    if combine == "ssos":
        y, mask = y.flatten(0, 1)[:, None], mask.repeat_interleave(coils, 0)
    one = torch.ones_like(y[:, :1])
    maps = coil_maps(y, mask) if y.shape[1] > 1 else one
    if phased:
        maps = maps * phase_of((maps.conj() * low_resolution(y, mask)).sum(1, keepdim=True))
    return Scan(y, mask, maps, torch.ones(len(y), 1, 1, 1, device=y.device))


def operator(scan: Scan, damping: float) -> Operator:
    """From images (R, 1, H, W) to the measured part of k-space (R, C, H, W)."""
    inside = Sampled(Fourier("centred"), scan.mask)
    if scan.through.shape[1] > 1:
        return Coils(inside, scan.through, damping, iterations=15)
    return Turned(inside, scan.through)


def sum_of_squares(coil_images: Tensor) -> Tensor:
    """sqrt(sum_c |x_c|^2) over axis 1, (B, 1, H, W), real."""
    return coil_images.abs().square().sum(1, keepdim=True).sqrt()


# The centre of k-space


def calibration_size(mask: Tensor) -> tuple[int, int]:
    """Height and width of the largest fully measured block around the origin of one mask (H, W), or 0, 0."""
    height, width = mask.shape
    best, found = 0, (0, 0)
    for rows in range(1, height + 1):
        full = mask[_centred(height, rows)].all(0)
        columns = 0
        while columns < width and bool(full[_centred(width, columns + 1)].all()):
            columns += 1
        if rows * columns > best:
            best, found = rows * columns, (rows, columns)
    return found


def _centred(size: int, length: int) -> slice:
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
        side[_centred(size, inside)] = torch.ones(size) if inside == size else hann
        sides.append(side)
    return torch.outer(*sides)


def phase_of(image: Tensor) -> Tensor:
    """image / |image|, and 1 where it is 0."""
    size = image.abs()
    return torch.where(size > 0, image / torch.where(size > 0, size, 1), 1)


def coil_maps(kspace: Tensor, mask: Tensor, kernel: int = 3, keep: float = 0.02) -> Tensor:
    """Sensitivities (B, C, H, W) by ESPIRiT (Uecker et al. 2014), sum of squares 1 at every pixel.

    kspace: centred, (B, C, H, W); mask: bool (B or 1, 1, H, W). Patches of `kernel` x `kernel` x C samples
    of the calibration region span a space, singular values below `keep` of the largest being noise; at
    each pixel the maps are the direction that this space leaves alone. That fixes them but for a phase,
    which is chosen so that the first coil is real. UserError where the region is smaller than two kernels.
    """
    maps = [
        _espirit(k, calibration_size(m[0]), kernel, keep)
        for k, m in zip(kspace, mask.expand(len(kspace), -1, -1, -1), strict=True)
    ]
    return torch.stack(maps)


def _espirit(kspace: Tensor, region: tuple[int, int], kernel: int, keep: float) -> Tensor:
    coils, height, width = kspace.shape
    need(
        min(region) > kernel,
        f"the fully measured centre is {region[0]} x {region[1]}, too small for coil maps: measure at least "
        f"{kernel + 1} x {kernel + 1} there, or set combine to ssos",
    )
    block = kspace[:, _centred(height, region[0]), _centred(width, region[1])]
    patches = block.unfold(1, kernel, 1).unfold(2, kernel, 1).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    _, values, rows = torch.linalg.svd(patches, full_matrices=False)
    span = rows[values > keep * values[0]].reshape(-1, coils, kernel, kernel)
    padded = kspace.new_zeros(len(span), coils, height, width)
    # A patch times a kernel is a correlation, hence the flip; its transform multiplies coil images.
    padded[..., _centred(height, kernel), _centred(width, kernel)] = span.conj().flip(-2, -1)
    images = _CENTRED.pseudo_inverse(padded).permute(2, 3, 0, 1)
    maps = torch.linalg.eigh(images.mH @ images)[1][..., -1].permute(2, 0, 1)
    return maps * phase_of(maps[:1]).conj()
