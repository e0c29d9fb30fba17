"""Computed tomography with parallel beams: an image's sums along lines, and filtered back-projection."""

# torch.fft and torch.sparse have no annotations.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.operators.linear import Operator, least_squares


@dataclass(frozen=True, eq=False)
class Radon(Operator):
    """Integrals of an image over parallel strips one pixel wide, (B, 1, H, W) to the sinogram (B, 1, A, D).

    Each pixel gives every strip its share of the pixel's area. The middle of strip D // 2 goes through the
    middle of the image.

    angles: (A,), in radians, 0: lines run down the columns, pi / 2: along the rows. size: (H, W).
    width: D, the number of strips; None makes so many that the diagonal fits in. known: bool, broadcastable
        to the sinogram, False where nothing was measured, as behind metal; None if all was.
    damping: the pseudo-inverse minimises |A x - y|^2 + damping |x|^2; 0 fits as well as can be, noise
        included. iterations: of conjugate gradients.
    """

    angles: Tensor
    size: tuple[int, int]
    damping: float = 0.0
    iterations: int = 50
    width: int | None = None
    known: Tensor | None = None

    @classmethod
    def even(cls, views: int, size: tuple[int, int], damping: float = 0.0, iterations: int = 50) -> Radon:
        """So many views, spread evenly over half a turn: 0 <= angle < pi."""
        angles = torch.arange(views, dtype=torch.float64) * (math.pi / views)
        return cls(angles, size, damping, iterations)

    @property
    def detectors(self) -> int:
        """D; odd, where the diagonal fits in."""
        return self.width or 2 * math.ceil(math.hypot(*self.size) / 2) + 1

    def _matrices(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and its transpose, sparse: (A D, H W) and (H W, A D)."""
        height, width = self.size
        rows, columns = torch.meshgrid(
            torch.arange(height, dtype=torch.float64) - (height - 1) / 2,
            torch.arange(width, dtype=torch.float64) - (width - 1) / 2,
            indexing="ij",
        )
        turn = self.angles.double().cpu()
        at = torch.outer(turn.cos(), columns.flatten()) + torch.outer(turn.sin(), rows.flatten())
        at = (at + self.detectors // 2)[..., None]
        # A pixel's shadow is a trapezoid, at most sqrt(2) wide: three detectors in a row see all of it.
        cells = at.round() + torch.arange(-1, 2)
        wide, high = turn.cos().abs()[:, None, None], turn.sin().abs()[:, None, None]
        shares = _shadow(cells + 0.5 - at, wide, high) - _shadow(cells - 0.5 - at, wide, high)
        # What falls beside the detectors is seen by none.
        shares = shares * ((cells >= 0) & (cells < self.detectors))
        cells = cells.clamp(0, self.detectors - 1)
        lines, shares = cells.int().flatten(1), shares.to(dtype).flatten(1)
        lines += torch.arange(len(turn), dtype=torch.int32)[:, None] * self.detectors
        shape = (len(turn) * self.detectors, height * width)

        order = lines.argsort(dim=1, stable=True)
        counts = torch.bincount(lines.flatten(), minlength=shape[0])
        starts = F.pad(counts.cumsum(0), (1, 0)).int()
        forward = _csr(starts, (order // 3).int().flatten(), shares.gather(1, order).flatten(), shape)
        starts = torch.arange(0, lines.numel() + 1, 3 * len(turn), dtype=torch.int32)
        places, values = (v.unflatten(1, (-1, 3)).transpose(0, 1).flatten() for v in (lines, shares))
        return forward, _csr(starts, places, values, shape[::-1])

    @cached_property
    def _at_hand(self) -> dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]]:
        """The matrices where and in the precision that they were asked for."""
        return {}

    def _times(self, transposed: bool, x: Tensor) -> Tensor:
        key = (x.device, x.dtype)
        if key not in self._at_hand:
            self._at_hand[key] = tuple(m.to(x.device) for m in self._matrices(x.dtype))
        return (self._at_hand[key][transposed] @ x.flatten(1).T).T

    def forward(self, x: Tensor) -> Tensor:
        return self.kept(self._times(False, x).reshape(-1, 1, len(self.angles), self.detectors))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._times(True, self.kept(y)).reshape(-1, 1, *self.size)

    def for_rows(self, take: Callable[[Tensor], Tensor]) -> Radon:
        return self if self.known is None else self.knowing(take(self.known))

    def knowing(self, known: Tensor | None) -> Radon:
        """The same scanner, of which other values are known; it keeps the matrices."""
        other = replace(self, known=known)
        vars(other)["_at_hand"] = self._at_hand
        return other

    def kept(self, y: Tensor) -> Tensor:
        return y if self.known is None else y * self.known.to(y.device)

    def bridged(self, y: Tensor) -> Tensor:
        """y with what was not measured put in along each view by straight lines between the nearest detectors
        that measured (Kalender et al. 1987): the usual remedy for metal."""
        if self.known is None:
            return y
        known = self.known.expand(y.shape).to(y.device)
        at = torch.arange(self.detectors, device=y.device).expand(y.shape)
        left = torch.where(known, at, -1).cummax(-1).values
        right = self.detectors - 1 - torch.where(known.flip(-1), at, -1).cummax(-1).values.flip(-1)
        right = torch.where(right >= self.detectors, left, right)  # nothing measured on that side
        left = torch.where(left < 0, right, left)
        part = (at - left) / (right - left).clamp(min=1)
        low, high = (y.gather(-1, i.clamp(0, self.detectors - 1)) for i in (left, right))
        return torch.where(known, y, low + part.to(y) * (high - low))

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return least_squares(self, y, self.iterations, self.damping)

    def filtered_back_projection(self, y: Tensor) -> Tensor:
        """The usual reconstruction (B, 1, H, W): every view sharpened by the ramp filter, and smeared back.

        For views that are spread evenly over half a turn; what was not measured is `bridged`.
        """
        y = self.bridged(y)
        n = 2 ** math.ceil(math.log2(2 * self.detectors))
        # The ramp as Ramachandran and Lakshminarayanan sample it in space: its mean comes out right.
        k = torch.arange(n, device=y.device)
        k = torch.minimum(k, n - k).to(y)
        taps = torch.where(k % 2 == 1, -1 / (math.pi * k.clamp(min=1)) ** 2, 0)
        taps[0] = 0.25
        response = torch.fft.rfft(taps).real
        spectrum = torch.fft.rfft(F.pad(y, (0, n - self.detectors)))
        sharp = torch.fft.irfft(spectrum * response, n)[..., : self.detectors]
        return self.knowing(None).adjoint(sharp) * (math.pi / len(self.angles))


def _shadow(s: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The share of a unit square that lies left of s, for square sides that look a and b wide from there."""
    a, b = a.clamp(min=1e-6), b.clamp(min=1e-6)
    corners = ((a + b) / 2, (a - b) / 2, (b - a) / 2, -(a + b) / 2)
    first, second, third, fourth = ((s + c).clamp(min=0).square() for c in corners)
    return (first - second - third + fourth) / (2 * a * b)


def _csr(starts: Tensor, places: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A sparse matrix by its rows."""
    with warnings.catch_warnings():  # torch calls the format beta; others are many times as slow
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(starts, places, values, shape, check_invariants=False)
