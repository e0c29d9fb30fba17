"""What was measured of slices, row by row, and the operator that leads there from the images sought."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from headwater.operators import Coils, Fourier, OfReal, Operator, Sampled, Turned
from headwater.operators.calibration import coil_maps, low_resolution, phase_of, sum_of_squares

Image = Literal["phased", "complex", "real"]
Combine = Literal["sense", "ssos"]


class Rows(Protocol):
    """Measurements to be reconstructed each on its own."""

    @property
    def y(self) -> Tensor:
        """What was measured, (R, ...)."""
        ...

    @property
    def real(self) -> bool:
        """Whether the image sought is real."""
        ...

    def rows(self, which: slice) -> Self:
        """Some of the rows."""
        ...

    def scaled(self, gain: Tensor) -> Self:
        """Every row multiplied by its number of `gain`, (R,)."""
        ...

    def operator(self, damping: float) -> Operator:
        """From images (R, 1, H, W) to what was measured."""
        ...

    def rough(self) -> Tensor:
        """Magnitudes (R, 1, H, W) made without a prior."""
        ...

    def rough_of(self, pictures: Tensor) -> Iterable[Tensor]:
        """For each row the magnitudes of known pictures (N, 1, H, W), measured like it and made alike."""
        ...

    def framed(self, images: Tensor) -> Tensor:
        """Images (R, ..., H, W) with the phase that they were measured with."""
        ...


@dataclass(frozen=True, eq=False)
class Scan:
    """Rows of k-space: slices, or single coils of slices.

    y: (R, C, H, W) complex. mask: bool (R, 1, H, W). through: what multiplies the image before the Fourier
    transform: coil maps (R, C, H, W), or a phase of modulus 1 (R, 1, H, W) if there is one coil.
    real: whether the image sought is real. phase: of modulus 1, (R, 1, H, W), what is left out of the images
    sought; None leaves nothing out.
    """

    y: Tensor
    mask: Tensor
    through: Tensor
    real: bool = False
    phase: Tensor | None = None

    @classmethod
    def of(cls, y: Tensor, mask: Tensor, combine: Combine, image: Image, own: Tensor | None = None) -> Scan:
        """k-space (n, C, H, W) and masks as rows: n for `sense` and for one coil, n * C for `ssos`.

        Maps, and with `phased` the smooth phase of the image, come from the centre of k-space; `own` maps
        (n, C, H, W) are taken as they are, but for a sum of squares of 1 at every pixel that they see.
        UserError where the centre is too small for maps.
        """
        if combine == "ssos":
            y, mask = y.flatten(0, 1)[:, None], mask.repeat_interleave(y.shape[1], 0)
        if own is not None:
            maps = own / sum_of_squares(own).clamp_min(torch.finfo(torch.float32).tiny)
        else:
            maps = coil_maps(y, mask) if y.shape[1] > 1 else torch.ones_like(y)
        if image != "phased":
            return cls(y, mask, maps, image == "real")
        phase = phase_of((maps.conj() * low_resolution(y, mask)).sum(1, keepdim=True))
        return cls(y, mask, maps * phase, phase=phase)

    def rows(self, which: slice) -> Scan:
        phase = None if self.phase is None else self.phase[which]
        return replace(self, y=self.y[which], mask=self.mask[which], through=self.through[which], phase=phase)

    def framed(self, images: Tensor) -> Tensor:
        if self.phase is None:
            return images
        return images * self.phase.reshape(
            len(self.phase), *[1] * (images.ndim - 3), *self.phase.shape[-2:]
        ).to(images.device)

    def scaled(self, gain: Tensor) -> Scan:
        return replace(self, y=self.y * gain.reshape(-1, 1, 1, 1))

    def operator(self, damping: float) -> Operator:
        inside = Sampled(Fourier("centred"), self.mask)
        several = self.through.shape[1] > 1
        a = Coils(inside, self.through, damping, 15) if several else Turned(inside, self.through)
        return OfReal(a) if self.real else a

    def rough(self) -> Tensor:
        """Zero filling; of several coils the root of the sum of squares."""
        return sum_of_squares(Fourier("centred").pseudo_inverse(self.y))

    def rough_of(self, pictures: Tensor) -> Iterable[Tensor]:
        transform = Fourier("centred")
        k = transform.forward(pictures + 0j)
        return (transform.pseudo_inverse(k * m).abs() for m in self.mask)


@dataclass(frozen=True, eq=False)
class Measured:
    """Rows (R, ...) of any linear measurement."""

    y: Tensor
    a: Operator
    real: bool = False

    def rows(self, which: slice) -> Measured:
        return replace(self, y=self.y[which], a=self._of(which))

    def _of(self, which: slice) -> Operator:
        return self.a.for_rows(lambda rows: rows[which] if len(rows) > 1 else rows)  # pyright: ignore[reportReturnType]

    def scaled(self, gain: Tensor) -> Measured:
        return replace(self, y=self.y * gain.reshape(-1, *[1] * (self.y.ndim - 1)))

    def framed(self, images: Tensor) -> Tensor:
        return images

    def operator(self, damping: float) -> Operator:
        return self.a

    def rough(self) -> Tensor:
        return self.a.pseudo_inverse(self.y).abs()

    def rough_of(self, pictures: Tensor) -> Iterable[Tensor]:
        x, found = pictures if self.real else pictures + 0j, None
        for i in range(len(self.y)):
            a = self._of(slice(i, i + 1))
            if found is None or a is not self.a:
                found = a.pseudo_inverse(a.forward(x)).abs()
            yield found
