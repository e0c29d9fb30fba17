"""What an attacker may do to a picture: a ball around it, within [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwater.data.levels import ROUNDING, digits
from headwater.errors import need
from headwater.noise import White


@dataclass(frozen=True)
class Threat:
    """All pictures in [0, 1] within `eps` of the given one, in the largest or the Euclidean norm.

    Raises UserError for another norm, an eps that is not positive, or one that allows every picture, as 8
    does where 8 / 255 is meant.
    """

    norm: Literal["linf", "l2"] = "linf"
    eps: float = 8 / 255

    def __post_init__(self) -> None:
        need(self.norm in ("linf", "l2"), f"the norm is {self.norm!r}: choose linf or l2")
        need(self.eps > 0, f"eps is {self.eps}: give a positive radius, pictures being in [0, 1]")
        if self.norm == "linf":
            need(self.eps < 1, self._too_large())

    def check(self, images: Tensor) -> None:
        """Raise UserError where the ball around images (B, C, H, W) holds every picture there is."""
        whole = images[0].numel() ** 0.5
        need(self.norm == "linf" or self.eps < whole, self._too_large())

    def _too_large(self) -> str:
        return (
            f"eps is {self.eps:g}, which allows every picture, since pictures are in [0, 1]: give "
            f"{self.eps:g} / 255 if that many grey levels are meant"
        )

    def size(self, delta: Tensor) -> Tensor:
        """Norm of each row of (B, ...): (B,)."""
        flat = delta.flatten(1)
        return flat.abs().amax(1) if self.norm == "linf" else flat.square().sum(1).sqrt()

    def project(self, x: Tensor, origin: Tensor) -> Tensor:
        """x (B, ...) brought back into the ball around origin, then into [0, 1], which stays in the ball."""
        delta = x - origin
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            delta = delta * per_row((self.eps / self.size(delta).clamp(min=1e-12)).clamp(max=1), x)
        return (origin + delta).clamp(0, 1)

    def ascend(self, gradient: Tensor) -> Tensor:
        """The step of size 1 that raises a loss most: the sign, or the gradient at unit length."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / per_row(self.size(gradient).clamp(min=1e-12), gradient)

    def start(self, origin: Tensor, seeds: Sequence[int]) -> Tensor:
        """A random picture of the ball; row i depends on seeds[i] alone."""
        noise = White().stream(seeds)
        if self.norm == "linf":
            return self.project(origin + (2 * noise.uniform(origin) - 1).to(origin) * self.eps, origin)
        direction = self.ascend(noise(origin))
        radius = noise.uniform(torch.empty(len(origin), 1)).to(origin) ** (1 / origin[0].numel())
        return self.project(origin + direction * per_row(self.eps * radius[:, 0], origin), origin)

    def __str__(self) -> str:
        name = "L-infinity" if self.norm == "linf" else "L2"
        return f"{name} {self.eps:.4g}"


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """values (B,) so that they broadcast over like (B, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def in_unit_range(images: Tensor) -> Tensor:
    """Images (B, C, H, W) in [0, 1]; what lies beyond by rounding is cut. UserError for others."""
    need(images.is_floating_point(), f"the pictures are of {images.dtype}: give floats in [0, 1]")
    low, high = float(images.min()), float(images.max())
    need(
        low >= -ROUNDING and high <= 1 + ROUNDING,
        f"attacks work on pictures in [0, 1], these go from {digits(low)} to {digits(high)}: rescale them",
    )
    return images.clamp(0, 1)
