"""Volumes of slices, of which every two neighbours are drawn together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.data.stacking import stack_kspace
from headwater.errors import need
from headwater.nets.wrappers import complex_channels
from headwater.operators import Fourier, Operator, Sampled

_TRANSFORM = Fourier("centred")


@dataclass(frozen=True, eq=False)
class Windows:
    """The pairs (s, s + 1) of a volume's slices as rows: k-space complex (R, 2, H, W), masks of its shape."""

    y: Tensor
    mask: Tensor
    real: bool = False

    @classmethod
    def of(
        cls, volume: Tensor, known: Tensor | None, number: int, size: tuple[int, int], device: str
    ) -> Windows:
        """Of k-space (slices, H, W); the mask of volume `number` holds for all its slices. UserError for
        anything else."""
        need(
            volume.ndim == 3 and len(volume) > 1,
            f"k-space is {tuple(volume.shape)}, and this prior draws pairs of neighbouring slices: give "
            "(slices, H, W), two slices or more, of one coil",
        )
        if known is not None and len(known) > 1:
            known = known[number : number + 1]
        y, mask = stack_kspace(list(volume), known, size, device)
        k, masks = (torch.stack([v[:-1, 0], v[1:, 0]], 1) for v in (y, mask))
        return cls(k, masks)

    def rows(self, which: slice) -> Windows:
        return replace(self, y=self.y[which], mask=self.mask[which])

    def scaled(self, gain: Tensor) -> Windows:
        return replace(self, y=self.y * gain.reshape(-1, 1, 1, 1))

    def framed(self, images: Tensor) -> Tensor:
        return images

    def operator(self, damping: float) -> Operator:
        return Sampled(_TRANSFORM, self.mask)

    def rough(self) -> Tensor:
        return _TRANSFORM.pseudo_inverse(self.y).abs()

    def rough_of(self, pictures: Tensor) -> Iterable[Tensor]:
        k = _TRANSFORM.forward(complex_channels(pictures))
        return (_TRANSFORM.pseudo_inverse(k * m).abs() for m in self.mask)

    def slices(self, values: Tensor) -> Tensor:
        """Values (R, 2, H, W) of pairs, averaged over those that a slice is in: (R + 1, H, W)."""
        total = torch.zeros(len(values) + 1, *values.shape[2:], dtype=values.dtype)
        total[:-1] += values[:, 0]
        total[1:] += values[:, 1]
        total[1:-1] /= 2
        return total

    def pairs(self, slices: Tensor) -> Tensor:
        """Slices (R + 1, H, W) as pairs (R, 2, H, W)."""
        return torch.stack([slices[:-1], slices[1:]], 1)
