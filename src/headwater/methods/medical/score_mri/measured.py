"""A scan ready for reconstruction: stacked slices, their masks, phases or coil maps, and their scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from headwater.errors import need
from headwater.methods.medical.score_mri.calibration import coil_maps, low_resolution, phase_of
from headwater.operators import Coils, Fourier, Operator, Sampled, Turned


@dataclass(frozen=True, eq=False)
class Measured:
    """Rows of k-space to be reconstructed each on its own: slices, or single coils of slices.

    y: (R, C, H, W) complex. mask: bool (R, 1, H, W). through: what multiplies the image before the Fourier
    transform: coil maps (R, C, H, W), or a phase of modulus 1 (R, 1, H, W) if there is one coil.
    gain: what y was multiplied with, (R, 1, 1, 1).
    """

    y: Tensor
    mask: Tensor
    through: Tensor
    gain: Tensor

    def rows(self, which: slice) -> Measured:
        """Some of the rows."""
        return Measured(self.y[which], self.mask[which], self.through[which], self.gain[which])

    def scaled(self, gain: Tensor) -> Measured:
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


def measured(y: Tensor, mask: Tensor, combine: Literal["sense", "ssos"], phased: bool) -> Measured:
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
    return Measured(y, mask, maps, torch.ones(len(y), 1, 1, 1, device=y.device))


def operator(scan: Measured, damping: float) -> Operator:
    """From images (R, 1, H, W) to the measured part of k-space (R, C, H, W)."""
    inside = Sampled(Fourier("centred"), scan.mask)
    if scan.through.shape[1] > 1:
        return Coils(inside, scan.through, damping, iterations=15)
    return Turned(inside, scan.through)
