"""Linear measurements y = A x: what a mask, a scanner or a blur tells about an image.

An operator has its `adjoint`, and with it the `pseudo_inverse` that leads back to images. `project` puts an
image onto the measured data, in the way of Score-MRI (Chung & Ye 2022) or, with a weight, of Song et al.
2022. Restoration by gradients needs `forward` alone, which torch differentiates.
"""

# torch.fft has no annotations.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor


class Measurement(ABC):
    """A differentiable map from images (B, ...) to measurements (B, ...), each sample on its own."""

    picture: ClassVar[bool] = True
    """Whether what it measures of pictures is light like theirs, from black at -1 to white at 1, so that it
    can be a picture file and have the noise of photons; others measure numbers of any size."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A(x)."""

    def real(self, x: Tensor) -> Tensor:
        """What is measured of images in truth, where `forward` is a differentiable stand-in for it."""
        return self.forward(x)

    def for_rows(self, take: Callable[[Tensor], Tensor]) -> Self:
        """The measurement of some of the samples: `take` picks their rows of what differs between samples."""
        return self

    def kept(self, y: Tensor) -> Tensor:
        """y without what was not measured: whatever a file holds in the holes of a mask says nothing."""
        return y

    def aligned(self, x: Tensor, truth: Tensor) -> Tensor:
        """Of the images that it cannot tell from x, (B, C, H, W), those nearest to the truth: x itself, where
        it has no symmetry."""
        return x

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Root mean square of A(x) - y over the values that were measured, (B,)."""
        return (self.forward(x) - self.kept(y)).abs().square().flatten(1).mean(1).sqrt()


class Operator(Measurement):
    """A linear measurement."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^H y: Re <A x, y> = Re <x, A^H y> for all x and y, see `inner`."""

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """A^+ y, the smallest of the images whose measurement is nearest to y."""
        return least_squares(self, y)

    def project(self, x: Tensor, y: Tensor, weight: float = 1.0) -> Tensor:
        """The image nearest to x that measures as y, x + A^+ (y - A x); `weight` goes part of the way."""
        return x + weight * self.pseudo_inverse(y - self.forward(x))


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Re <a, b> of each sample, (B,), for real or complex (B, ...): a complex number is a pair of reals."""
    return (a.conj() * b).real.flatten(1).sum(1)


def least_squares(a: Operator, y: Tensor, iterations: int = 50, damping: float = 0.0) -> Tensor:
    """argmin_x |A x - y|^2 + damping |x|^2 by conjugate gradients from 0 (Hestenes & Stiefel 1952).

    Without damping the limit is A^+ y. It is reached after as many iterations as A^H A has distinct
    eigenvalues above 0. A sample whose residual is down to rounding is left alone: to go on would divide
    noise by noise.
    """
    residual = a.adjoint(y)
    x, direction = torch.zeros_like(residual), residual
    size = inner(residual, residual)
    enough = size * (100 * torch.finfo(size.dtype).eps) ** 2
    for _ in range(iterations):
        going = size > enough
        if not bool(going.any()):
            break
        curved = a.adjoint(a.forward(direction)) + damping * direction
        step = _ratio(size, inner(direction, curved), going, x)
        x = x + step * direction
        residual = residual - step * curved
        before, size = size, inner(residual, residual)
        direction = residual + _ratio(size, before, going, x) * direction
    return x


def _ratio(top: Tensor, bottom: Tensor, going: Tensor, x: Tensor) -> Tensor:
    """top / bottom (B,) where a sample is going, else 0, shaped to multiply x."""
    value = torch.where(going, top / torch.where(going, bottom, 1), 0)
    return value.reshape(-1, *[1] * (x.ndim - 1))


Convention = Literal["centred", "shifted", "plain"]


@dataclass(frozen=True)
class Fourier(Operator):
    """The two-dimensional Fourier transform of the last two axes, complex in and out.

    convention: `centred`: origin in the middle of both image and k-space, orthonormal (fastMRI, ISMRMRD).
        `shifted`: origin of k-space in the middle, of the image in the corner, not normalised (Score-MRI's
        single coil). `plain`: both in the corner, not normalised (DiffuseRecon, numpy, torch).
    """

    convention: Convention = "centred"

    def forward(self, x: Tensor) -> Tensor:
        if self.convention == "centred":
            return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, _HW), norm="ortho"), _HW)
        k = torch.fft.fft2(x)
        return torch.fft.fftshift(k, _HW) if self.convention == "shifted" else k

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """The inverse."""
        if self.convention == "centred":
            return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(y, _HW), norm="ortho"), _HW)
        return torch.fft.ifft2(torch.fft.ifftshift(y, _HW) if self.convention == "shifted" else y)

    def adjoint(self, y: Tensor) -> Tensor:
        pixels = 1 if self.convention == "centred" else y.shape[-1] * y.shape[-2]
        return pixels * self.pseudo_inverse(y)


_HW = (-2, -1)


@dataclass(frozen=True, eq=False)
class Sampled(Operator):
    """Coefficients of an invertible transform, of which a mask keeps some: M T x, zeros elsewhere.

    transform: T, with T^H T a multiple of the identity. mask: bool, broadcastable to T x, True = measured.
    """

    transform: Operator
    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.transform.forward(x) * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        return self.transform.adjoint(y * self.mask)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """T^-1 of what was measured, zeros filled in for the rest."""
        return self.transform.pseudo_inverse(y * self.mask)


@dataclass(frozen=True, eq=False)
class Turned(Operator):
    """Another operator behind a known phase: A (p x), with p of modulus 1, broadcastable to x."""

    operator: Operator
    phase: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(self.phase * x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.phase.conj() * self.operator.adjoint(y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self.phase.conj() * self.operator.pseudo_inverse(y)


@dataclass(frozen=True, eq=False)
class Coils(Operator):
    """One image (B, 1, H, W) seen by C receivers, each through its own map: A (S_c x) (SENSE).

    operator: what each coil image (B, C, H, W) goes through. maps: complex (B or 1, C, H, W).
    damping: the pseudo-inverse minimises |A x - y|^2 + damping |x|^2, because maps are estimates and no
        image may fit all coils; 0 fits as well as can be. iterations: of conjugate gradients.
    """

    operator: Operator
    maps: Tensor
    damping: float = 0.0
    iterations: int = 50

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(self.maps * x)

    def adjoint(self, y: Tensor) -> Tensor:
        return (self.maps.conj() * self.operator.adjoint(y)).sum(1, keepdim=True)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return least_squares(self, y, self.iterations, self.damping)


@dataclass(frozen=True, eq=False)
class OfReal(Operator):
    """An operator on complex images, given real ones: they are what is sought, so A^H y keeps its real part.

    The pseudo-inverse knows that the spectrum of a real image is symmetric, and so fills in the mirror image
    of every measured coefficient; Re F^-1 (Score-MRI's Alg. 2) goes half that way in one step.
    """

    operator: Operator
    iterations: int = 50

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(torch.complex(x, torch.zeros_like(x)))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y).real

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return least_squares(self, y, self.iterations)
