"""Linear measurements whose singular value decomposition is known exactly and costs little.

A = U S V^H. Each operator keeps the coefficients of an image in a layout of the image's own size, where S is
one number for each coefficient, 0 where nothing is measured. So what follows from the decomposition (the
adjoint, the pseudo-inverse, DDRM) is arithmetic on coefficients, the same for every operator, and no matrix
of the size of an image is ever built.
"""

# torch.fft and torch.linalg have no annotations.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.operators.linear import Operator


class Spectral(Operator):
    """A linear map with its singular value decomposition, on images (B, C, H, W)."""

    @cached_property
    def singular(self) -> Tensor:
        """The singular values, real and 0 or more, broadcastable to `coefficients(x)`."""
        return self._values()

    @abstractmethod
    def _values(self) -> Tensor: ...

    @abstractmethod
    def coefficients(self, x: Tensor) -> Tensor:
        """V^H x, as many numbers as x has."""

    @abstractmethod
    def image(self, c: Tensor) -> Tensor:
        """V c, the image of coefficients."""

    @abstractmethod
    def measured(self, y: Tensor) -> Tensor:
        """U^H y, each number in the place of the coefficient that it measures, and 0 in all other places."""

    @abstractmethod
    def measurement(self, c: Tensor) -> Tensor:
        """U c, of coefficients that are 0 where nothing is measured."""

    def forward(self, x: Tensor) -> Tensor:
        return self.measurement(self.singular.to(x) * self.coefficients(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.image(self.singular.to(y) * self.measured(y))

    def recovered(self, y: Tensor) -> Tensor:
        """S^+ U^H y: the coefficients as y says they are, 0 where nothing is measured."""
        s = self.singular.to(y)
        return torch.where(s > 0, self.measured(y) / torch.where(s > 0, s, 1), 0)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self.image(self.recovered(y))


@dataclass(frozen=True, eq=False)
class Masked(Spectral):
    """The pixels that are known, 0 in all others; of an image of known pixels alone, the image itself.

    known: bool, broadcastable to the images, True where a pixel is measured.
    """

    known: Tensor

    def _values(self) -> Tensor:
        return self.known.float()

    def coefficients(self, x: Tensor) -> Tensor:
        return x

    def image(self, c: Tensor) -> Tensor:
        return c

    def measured(self, y: Tensor) -> Tensor:
        return self.kept(y)

    def measurement(self, c: Tensor) -> Tensor:
        return c

    def for_rows(self, take: Callable[[Tensor], Tensor]) -> Masked:
        return replace(self, known=take(self.known))

    def kept(self, y: Tensor) -> Tensor:
        return y * self.known.to(y.device)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        share = self.known.expand(x.shape).to(x).flatten(1).mean(1)
        return super().residual(x, y) / share.sqrt()


@dataclass(frozen=True)
class BlockAverage(Spectral):
    """The mean of every block of `factor` x `factor` pixels: (B, C, H, W) to (B, C, H / factor, W / factor).

    The coefficients of a block are those of its discrete cosine transform, of which the mean is the first.
    """

    factor: int

    @cached_property
    def _basis(self) -> Tensor:
        """(factor^2, factor^2), a row for each pattern; the first is flat."""
        return torch.kron(cosines(self.factor), cosines(self.factor))

    def _values(self) -> Tensor:
        first = torch.zeros(self.factor**2, dtype=torch.float64)
        first[0] = 1 / self.factor
        return first

    def coefficients(self, x: Tensor) -> Tensor:
        r = self.factor
        blocks = x.unflatten(-1, (-1, r)).unflatten(-3, (-1, r)).transpose(-3, -2)
        return blocks.flatten(-2) @ self._basis.to(x).T

    def image(self, c: Tensor) -> Tensor:
        r = self.factor
        blocks = (c @ self._basis.to(c)).unflatten(-1, (r, r))
        return blocks.transpose(-3, -2).flatten(-2).flatten(-3, -2)

    def measured(self, y: Tensor) -> Tensor:
        return F.pad(y[..., None], (0, self.factor**2 - 1))

    def measurement(self, c: Tensor) -> Tensor:
        return c[..., 0]


@dataclass(frozen=True)
class Grey(Spectral):
    """One grey value for three colours: (B, 3, H, W) to (B, 1, H, W).

    weights: of red, green and blue; by default those of ITU-R BT.601, which picture programs use. With
        values in [-1, 1] they should sum to 1.
    """

    weights: tuple[float, float, float] = (0.299, 0.587, 0.114)

    @cached_property
    def _basis(self) -> Tensor:
        """(3, 3), a row for each axis; the first is that of the weights."""
        first = torch.tensor(self.weights, dtype=torch.float64)
        q, r = torch.linalg.qr(torch.stack([first, *torch.eye(3, dtype=torch.float64)[:2]], 1))
        return (q * torch.where(r.diagonal() < 0, -1.0, 1.0)).T

    def _values(self) -> Tensor:
        return torch.tensor([math.hypot(*self.weights), 0.0, 0.0], dtype=torch.float64)[:, None, None]

    def coefficients(self, x: Tensor) -> Tensor:
        return torch.einsum("kc,bchw->bkhw", self._basis.to(x), x)

    def image(self, c: Tensor) -> Tensor:
        return torch.einsum("kc,bkhw->bchw", self._basis.to(c), c)

    def measured(self, y: Tensor) -> Tensor:
        return F.pad(y, (0, 0, 0, 0, 0, 2))

    def measurement(self, c: Tensor) -> Tensor:
        return c[:, :1]


@dataclass(frozen=True, eq=False)
class WalshHadamard(Spectral):
    """Compressed sensing: some coefficients of the orthonormal Walsh-Hadamard transform of each channel,
    (B, C, H, W) to (B, C, M); H and W are powers of 2.

    places: (M,) int64, the rows of the natural-order Hadamard matrix of H * W that are measured, each once.
    size: (H, W).
    """

    picture: ClassVar[bool] = False

    places: Tensor
    size: tuple[int, int]

    @classmethod
    def random(cls, share: float, size: tuple[int, int], seed: int = 0) -> WalshHadamard:
        """A share of all coefficients, drawn at random."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(size[0] * size[1], generator=generator)
        return cls(order[: max(1, round(share * len(order)))], size)

    def _values(self) -> Tensor:
        found = torch.zeros(self.size[0] * self.size[1], dtype=torch.float64)
        found[self.places] = 1
        return found

    def coefficients(self, x: Tensor) -> Tensor:
        n = self.size[0] * self.size[1]
        values = x.reshape(*x.shape[:2], n)
        half = n // 2
        # Sums and differences of pairs, ever farther apart: n log n steps for the product with the matrix.
        while half:
            pairs = values.unflatten(-1, (-1, 2, half))
            sums, differences = pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]
            values = torch.stack([sums, differences], -2).flatten(-3)
            half //= 2
        return values / math.sqrt(n)

    def image(self, c: Tensor) -> Tensor:
        return self.coefficients(c.reshape(*c.shape[:2], *self.size)).reshape(*c.shape[:2], *self.size)

    def measured(self, y: Tensor) -> Tensor:
        found = y.new_zeros(*y.shape[:2], self.size[0] * self.size[1])
        found[..., self.places.to(y.device)] = y
        return found

    def measurement(self, c: Tensor) -> Tensor:
        return c[..., self.places.to(c.device)]


@dataclass(frozen=True, eq=False)
class Separable(Spectral):
    """One matrix along the columns of an image and one along its rows: y = rows X columns^T.

    rows: (H', H). columns: (W', W). smallest: singular values of either matrix below it count as 0, since
        what they measure drowns in rounding.
    """

    rows: Tensor
    columns: Tensor
    smallest: float = 0.0

    @classmethod
    def bicubic(cls, factor: int, size: tuple[int, int]) -> Separable:
        """Shrinking by a whole factor with the antialiased bicubic kernel; see `resizing`."""
        rows, columns = (resizing(n, n // factor) for n in size)
        return cls(rows, columns)

    @classmethod
    def blur(cls, kernel: Tensor, size: tuple[int, int], smallest: float = 0.0) -> Separable:
        """Blur by the same kernel (K,), K odd, along both axes; black beyond the edge."""
        rows, columns = (banded(kernel.double(), n) for n in size)
        return cls(rows, columns, smallest)

    @cached_property
    def _parts(self) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        """U, S and V^T of either matrix, V square, S padded with zeros."""
        found = []
        for matrix in (self.rows.double(), self.columns.double()):
            u, s, v = torch.linalg.svd(matrix, full_matrices=True)
            s = torch.where(s < max(self.smallest, 1e-12 * float(s[0])), 0, s)
            found.append((u[:, : len(s)], F.pad(s, (0, len(v) - len(s))), v))
        return tuple(found)

    def _values(self) -> Tensor:
        (_, s, _), (_, t, _) = self._parts
        return s[:, None] * t

    def coefficients(self, x: Tensor) -> Tensor:
        (_, _, v), (_, _, w) = self._parts
        return v.to(x) @ x @ w.to(x).T

    def image(self, c: Tensor) -> Tensor:
        (_, _, v), (_, _, w) = self._parts
        return v.to(c).T @ c @ w.to(c)

    def measured(self, y: Tensor) -> Tensor:
        (u, s, _), (v, t, _) = self._parts
        some = u.to(y).T @ y @ v.to(y)
        full = F.pad(some, (0, len(t) - some.shape[-1], 0, len(s) - some.shape[-2]))
        return full * (self.singular > 0).to(y.device)

    def measurement(self, c: Tensor) -> Tensor:
        (u, _, _), (v, _, _) = self._parts
        return u.to(c) @ c[..., : u.shape[1], : v.shape[1]] @ v.to(c).T


@dataclass(frozen=True, eq=False)
class Circular(Spectral):
    """Blur by any kernel, with an image that goes on at the opposite edge: (B, C, H, W) to the same.

    kernel: (K, L), both odd, its middle over the pixel. size: (H, W). smallest: singular values below it
        count as 0. The coefficients are complex: those of the Fourier transform.
    """

    kernel: Tensor
    size: tuple[int, int]
    smallest: float = 0.0

    @cached_property
    def _transfer(self) -> Tensor:
        """What each frequency is multiplied by, (H, W) complex."""
        k, l = self.kernel.shape
        h, w = self.size
        rows = (torch.arange(k) - k // 2) % h
        columns = (torch.arange(l) - l // 2) % w
        placed = torch.zeros(h, w, dtype=torch.float64)
        placed.index_put_((rows[:, None], columns[None]), self.kernel.double(), accumulate=True)
        return torch.fft.fft2(placed)

    def _values(self) -> Tensor:
        size = self._transfer.abs()
        return torch.where(size < max(self.smallest, 1e-12 * float(size.max())), 0, size)

    @cached_property
    def _phase(self) -> Tensor:
        return torch.where(self.singular > 0, self._transfer / self._transfer.abs().clamp(min=1e-300), 0)

    def coefficients(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho")

    def image(self, c: Tensor) -> Tensor:
        return torch.fft.ifft2(c, norm="ortho").real

    def measured(self, y: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(y, norm="ortho")
        return self._phase.conj().to(spectrum) * spectrum

    def measurement(self, c: Tensor) -> Tensor:
        return torch.fft.ifft2(self._phase.to(c) * c, norm="ortho").real


def cosines(n: int) -> Tensor:
    """The orthonormal discrete cosine transform of n values (type II), (n, n) float64, a row a pattern."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    found = torch.cos(math.pi / n * (i + 0.5) * k) * math.sqrt(2 / n)
    found[0] /= math.sqrt(2)
    return found


def banded(kernel: Tensor, n: int) -> Tensor:
    """The matrix (n, n) that correlates n values with a kernel (K,), K odd, zeros beyond both ends."""
    padded = F.pad(kernel, (0, n - 1))
    rows = torch.stack([padded.roll(i) for i in range(n)])
    reach = len(kernel) // 2
    return rows[:, reach : reach + n]


def resizing(
    n: int, out: int, scale: float | None = None, kernel: Literal["cubic", "linear"] = "cubic"
) -> Tensor:
    """The matrix (out, n) float64 that resizes n values to `out` with Keys' cubic kernel (a = -1/2).

    Shrinking widens the kernel, so that it is antialiased; values go on beyond an edge as in a mirror. This
    is MATLAB's imresize, and the resizer of ILVR and DPS. scale: out / n unless it says otherwise; the
    image stays centred. kernel: `linear` interpolates, as EGSDE does.
    """
    scale = out / n if scale is None else scale
    wide = max(1.0, 1 / scale)
    centre = (torch.arange(out, dtype=torch.float64) + 0.5 - (out - n * scale) / 2) / scale - 0.5
    reach = math.ceil(2 * wide) + 1
    taps = centre.floor().long()[:, None] + torch.arange(-reach, reach + 1)
    distance = (centre[:, None] - taps) / wide
    weights = _keys(distance) if kernel == "cubic" else (1 - distance.abs()).clamp(min=0)
    weights /= weights.sum(1, keepdim=True)
    mirrored = taps % (2 * n)
    mirrored = torch.where(mirrored < n, mirrored, 2 * n - 1 - mirrored)
    return torch.zeros(out, n, dtype=torch.float64).scatter_add_(1, mirrored, weights)


def _keys(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2 (1981, eq. 15)."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0))


@dataclass(frozen=True, eq=False)
class LowPass:
    """phi: shrink by a factor and enlarge again, by antialiased resizing."""

    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, factor: int, sides: Sequence[int], kernel: Literal["cubic", "linear"] = "cubic") -> LowPass:
        """For pictures with these sides."""
        small = [max(1, -(-n // factor)) for n in sides]
        rows, columns = (
            resizing(m, n, kernel=kernel) @ resizing(n, m, kernel=kernel)
            for n, m in zip(sides, small, strict=True)
        )
        return cls(rows, columns)

    def __call__(self, x: Tensor) -> Tensor:
        return self.rows.to(x) @ x @ self.columns.to(x).T
