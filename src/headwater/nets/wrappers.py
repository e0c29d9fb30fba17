"""Wrappers around networks: EDM's preconditioning, other units, a chosen class, complex images as real."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn


class Wrapped(nn.Module):
    """A network within another, which is called with something else; features are read within."""

    network: nn.Module

    @abstractmethod
    def inside(self, x: Tensor, label: Tensor, **cond: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """What the network within is called with."""


class Preconditioned(Wrapped):
    """EDM's wrapper: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), a network that predicts x0.

    Karras et al. 2022, Table 1 and eq. 7; the label it is told is sigma. `data_std` is sigma_data.
    """

    def __init__(self, network: nn.Module, data_std: float = 0.5) -> None:
        super().__init__()
        self.network = network
        self.data_std = data_std

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, ...), label (B,) = sigma. Returns the estimate of x0, (B, ...)."""
        sigma = label.reshape(-1, *[1] * (x.ndim - 1))
        total = sigma.square() + self.data_std**2
        x_inside, noise, cond = self.inside(x, label, **cond)
        inner = self.network(x_inside, noise, **cond)
        return self.data_std**2 / total * x + sigma * self.data_std / total.sqrt() * inner

    def inside(self, x: Tensor, label: Tensor, **cond: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        total = label.reshape(-1, *[1] * (x.ndim - 1)).square() + self.data_std**2
        return x / total.sqrt(), label.log() / 4, cond


class OnUnitRange(Wrapped):
    """Serve pictures in [-1, 1] with a network of pictures in [0, 1] whose variance explodes.

    2 (x0 + sigma eps) - 1 is the picture 2 x0 - 1 under twice the noise, so the process around it has twice
    the sigma that the network is told.
    """

    def __init__(self, network: nn.Module, predicts: Literal["eps", "x0", "score"]) -> None:
        super().__init__()
        self.network, self.predicts = network, predicts

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, ...), label (B,) as the network knows it. Returns its answer in the units of x."""
        x, label, cond = self.inside(x, label, **cond)
        out = self.network(x, label, **cond)
        if self.predicts == "x0":
            return 2 * out - 1
        return out / 2 if self.predicts == "score" else out

    def inside(self, x: Tensor, label: Tensor, **cond: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        return (x + 1) / 2, label, cond


class OfClass(Wrapped):
    """A network of many classes that is told one of them wherever nobody says which."""

    def __init__(self, network: nn.Module, number: int) -> None:
        super().__init__()
        self.network, self.number = network, number

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, ...), label (B,), and y (B,) for other classes."""
        x, label, cond = self.inside(x, label, **cond)
        return self.network(x, label, **cond)

    def inside(self, x: Tensor, label: Tensor, **cond: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        return x, label, {"y": torch.full((len(x),), self.number, device=x.device), **cond}


class RealAndImaginary(nn.Module):
    """Serve a complex image with a network of real ones: both parts in one doubled batch (Score-MRI)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, ...) complex, label (B,); conditions are repeated for both parts."""
        twice = {k: torch.cat([v, v]) if isinstance(v, Tensor) else v for k, v in cond.items()}
        real, imag = self.network(torch.cat([x.real, x.imag]), torch.cat([label, label]), **twice).chunk(2)
        return torch.complex(real, imag)


class ComplexChannels(nn.Module):
    """Serve complex images with a network whose channels are their real and imaginary parts in turn."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, label: Tensor, **cond: Any) -> Tensor:
        """x (B, C, ...) complex, label (B,); the network sees and answers (B, 2 C, ...) real."""
        return complex_channels(self.network(real_channels(x), label, **cond))


def real_channels(x: Tensor) -> Tensor:
    """Complex (B, C, ...) as real (B, 2 C, ...): Re and Im of each channel in turn."""
    return torch.view_as_real(x).movedim(-1, 2).flatten(1, 2)


def complex_channels(x: Tensor) -> Tensor:
    """Real (B, 2 C, ...) as complex (B, C, ...), the inverse of `real_channels`."""
    return torch.view_as_complex(x.unflatten(1, (-1, 2)).movedim(2, -1).contiguous())
