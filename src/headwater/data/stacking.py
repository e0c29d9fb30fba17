"""k-space brought to the grid of a prior: an oversampled scan is cut in the picture, never in k-space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from headwater.errors import UserError, need
from headwater.notes import note

LARGEST, SMALLEST = 1e15, 1e-15
"""Bounds on the largest value of what was measured: sums of squares of it stay within 32-bit numbers."""
_HOLES = 0.02
"""Share of exact zeros in a measured line that can be chance, and not a pattern of sampling."""


def stack_kspace(
    kspace: Sequence[Tensor], known: Tensor | None, size: tuple[int, int], device: str
) -> tuple[Tensor, Tensor]:
    """Slices (H, W) or (coils, H, W) as one tensor (n, C, *size), and masks of it, bool (n, 1, *size).

    An axis that is longer than `size` asks for is cut to its middle in the picture, which is exact where the
    lines along it were measured whole or not at all: the readout of a scan, which is oversampled, is such an
    axis. A note says so.

    known: bool (n or 1, 1, H, W), True = measured, of the size of k-space or of `size`; without it, what is
        not 0 in any coil counts as measured. k-space is set to 0 where it is not known.
    Raises UserError for no slices, a size that cannot be cut to `size`, slices of different numbers of coils,
    masks that do not fit, numbers that are not finite or too large, an origin that is not in the middle, or
    a slice of which nothing was measured.
    """
    need(len(kspace) > 0, "there is no k-space: give at least one slice")
    slices = [k[None] if k.ndim == 2 else k for k in kspace]
    for i, k in enumerate(slices):
        need(
            k.is_complex(),
            "what was measured is real, and k-space is complex: save it as complex64 (real part + 1j * "
            "imaginary part), or say by radon if these are sinograms",
        )
        need(k.ndim == 3, f"k-space is {tuple(k.shape)}: give slices (H, W) or (coils, H, W)")
        wrong = out_of_range(k)
        need(not wrong, f"slice {i + 1} of k-space {wrong}")
    counts = sorted({len(k) for k in slices})
    need(len(counts) == 1, f"slices have {counts} coils: reconstruct those of each number apart")
    masks = _masks(slices, known, size)
    fitted = [_fitted(k, m, size) for k, m in zip(slices, masks, strict=True)]
    y = torch.stack([k for k, _ in fitted]).to(device)
    measured = (y != 0).any(1, keepdim=True)
    if known is not None:
        measured = torch.stack([m for _, m in fitted if m is not None])[:, None].to(device)
    empty = [i + 1 for i, m in enumerate(measured & (y != 0).any(1, keepdim=True)) if not bool(m.any())]
    need(not empty, f"slice {empty[:1]} has nothing measured: leave it out")
    for i, k in enumerate(y * measured):
        moved = _moved(k)
        need(not moved, f"slice {i + 1} of k-space {moved}")
    return y * measured, measured


def out_of_range(values: Tensor) -> str:
    """What is wrong with numbers that were measured, as the end of a sentence; "" if nothing is."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    if not math.isfinite(largest):
        return "holds values that are not finite: replace them"
    if largest == 0 or SMALLEST <= largest <= LARGEST:
        return ""
    by = f"1e{math.floor(math.log10(largest)):+03d}"
    return f"has values up to {largest:.3g}, whose squares 32-bit numbers cannot hold: divide them by {by}"


def cut(k: Tensor, axis: int, length: int) -> Tensor:
    """k-space (..., H, W) of the middle `length` pixels of its picture along `axis`, -2 or -1.

    The transform keeps sums of squares, so that pixels keep their values.
    """
    first = (k.shape[axis] - length) // 2  # as fastMRI cuts, whose pictures are the truth
    picture = torch.fft.ifft(torch.fft.ifftshift(k.to(torch.complex128), axis), dim=axis, norm="ortho")
    picture = torch.fft.fftshift(picture, axis).narrow(axis, first, length)
    again = torch.fft.fft(torch.fft.ifftshift(picture, axis), dim=axis, norm="ortho")
    return torch.fft.fftshift(again, axis).to(k.dtype)


def _masks(slices: list[Tensor], known: Tensor | None, size: tuple[int, int]) -> list[Tensor | None]:
    """A mask (H, W) of each slice, of its size or of `size`."""
    if known is None:
        return [None] * len(slices)
    count, shapes = len(slices), {tuple(k.shape[-2:]) for k in slices} | {size}
    fits = known.dtype == torch.bool and known.ndim == 4 and known.shape[1] == 1 and len(known) in (1, count)
    h, w = slices[0].shape[-2:]
    need(
        fits and tuple(known.shape[2:]) in shapes,
        f"the mask is {tuple(known.shape)}: give bool ({count} or 1, 1, {h}, {w})",
    )
    return [m.to(k.device) for m, k in zip(known[:, 0].expand(count, -1, -1), slices, strict=True)]


def _fitted(k: Tensor, known: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """One slice (C, *size) of a slice (C, H, W), and its mask (*size) if there is one."""
    has = (k.shape[-2], k.shape[-1])
    pattern = (k != 0).any(0) if known is None else known
    long = [axis for axis in (0, 1) if has[axis] > size[axis]]
    bad = [a for a in long if not _whole_lines(pattern, a, 0 if known is not None else _HOLES)]
    bad += [axis for axis in (0, 1) if has[axis] < size[axis]]
    if bad:
        raise _misfit(has, size, bad[0], [size[a] if a not in bad else has[a] for a in (0, 1)])
    for axis in long:
        k = cut(k, axis - 2, size[axis])
    if long:
        along = "both axes" if len(long) == 2 else f"its {('first', 'second')[long[0]]} axis"
        note(
            f"is {has[0]} x {has[1]} and the prior draws {size[0]} x {size[1]}: the picture is cut to its "
            f"middle along {along}",
            "k-space",
        )
    if known is None:
        return k, None
    for axis in long:  # lines are whole, so that one point of each tells all
        known = known.any(axis, keepdim=True).expand(*(size[a] if a == axis else -1 for a in (0, 1)))
    need(
        tuple(known.shape) == size,
        f"the mask is {tuple(known.shape)} and k-space {has}: give them one size",
    )
    return k, known


def _whole_lines(pattern: Tensor, axis: int, holes: float) -> bool:
    """Whether all lines along an axis of what was measured (H, W) are whole, up to some holes, or empty."""
    share = pattern.double().mean(axis)
    begun = share[share > 0]
    return len(begun) > 0 and float(begun.mean()) >= 1 - holes


def _misfit(has: tuple[int, int], size: tuple[int, int], axis: int, wanted: list[int]) -> UserError:
    """Why a slice cannot be brought to a size, and what can be done."""
    said = f"k-space is {has[0]} x {has[1]} and this prior draws {size[0]} x {size[1]}: its "
    said += f"{('first', 'second')[axis]} axis "
    other = f"take a prior of {wanted[0]} x {wanted[1]}"
    if has[axis] < size[axis]:
        return UserError(
            f"{said}has {has[axis]} points, too few for {size[axis]}: {other}, or lay zeros around it, "
            "its origin staying in the middle, if the prior's pixels are that much finer"
        )
    return UserError(
        f"{said}was not measured in whole lines, so that no part of the picture can be cut out: {other}, or "
        f"cut the fully measured picture to {size[axis]} along this axis and leave out lines after that"
    )


def _moved(k: Tensor) -> str:
    """Where the origin of k-space (C, H, W) is, as the end of a sentence; "" if it is in the middle."""
    height, width = k.shape[-2:]
    if min(height, width) < 8:
        return ""
    energy = (k / k.abs().max()).abs().square().sum(0)
    middle = _centre_share(energy)
    shifts: tuple[tuple[int, ...], ...] = ((-1,), (-2,), (-2, -1))
    share, axes = max((_centre_share(torch.fft.fftshift(energy, axes)), axes) for axes in shifts)
    if share < 0.5 or middle > 0.1 * share:
        return ""
    where = "in the corner" if len(axes) == 2 else "at the edge"
    signs = (
        "the signs of every other row and column" if len(axes) == 2 else "every other sign along that axis"
    )
    return (
        f"has its origin {where}, where {share:.0%} of its energy lies, with {middle:.1%} around the middle: "
        f"give np.fft.fftshift(k, axes={axes}), and turn {signs} if the picture comes out with its edges in "
        "its middle"
    )


def _centre_share(energy: Tensor) -> float:
    """Share of the energy (H, W) in the sixteenth of it around the origin of centred k-space."""
    (top, high), (left, wide) = ((n // 2 - n // 8, max(2 * (n // 8), 1)) for n in energy.shape)
    return float(energy[top : top + high, left : left + wide].sum() / energy.sum())
