"""A fitted D3PM of pictures: its grey values, its chain, its network, and the folder that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from headwater.core.schedule import betas, reciprocal
from headwater.discrete import Discrete, DiscreteDenoiser, Mixture, absorbing, uniform
from headwater.discrete.process import discretised_gaussian
from headwater.errors import UserError, need
from headwater.models.saved import load_network, save_network
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.categorical_unet import PixelLogistic, PixelLogits

Chain = Literal["gaussian", "uniform", "absorbing"]
Head = Literal["logistic", "logits"]

_KIND = "d3pm-images"


def quantised(image: Tensor, K: int) -> Tensor:
    """Pictures in [-1, 1] as the nearest of K even values, int64 of the same shape."""
    return ((image.clamp(-1, 1) + 1) * (K - 1) / 2).round().long()


def pictures(x: Tensor, K: int) -> Tensor:
    """Values 0 .. K-1 as float32 pictures in [-1, 1]."""
    return x.float() * (2 / (K - 1)) - 1


@dataclass(frozen=True, eq=False)
class FittedD3PMImages:
    """Network and chain: what `D3PMImages.fit` returns. shape: (C, H, W) of the pictures."""

    network: nn.Module
    shape: tuple[int, int, int]
    about: dict[str, Any]
    """K, T, chain, head, mixture and the sizes of the U-Net."""

    @classmethod
    def fresh(cls, shape: tuple[int, int, int], about: dict[str, Any], seed: int) -> FittedD3PMImages:
        """With untrained weights. Raises UserError for sizes that cannot be."""
        need(about["K"] >= 2 and about["T"] >= 1, "a chain needs 2 values and 1 level or more: raise K or T")
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = _build(about)
        except ValueError as error:
            raise UserError(str(error)) from None
        return cls(network, shape, about)

    @cached_property
    def process(self) -> Discrete:
        return _chain(self.about["chain"], self.about["K"], self.about["T"], self.about["mixture"])

    @cached_property
    def denoiser(self) -> DiscreteDenoiser:
        return DiscreteDenoiser(self.network, self.process)

    def save(self, folder: str | Path) -> None:
        """Write weights and sizes, whole or not at all."""
        save_network(folder, self.network, {"kind": _KIND, "shape": list(self.shape), **self.about})

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> FittedD3PMImages:
        """Read what `save` wrote. Raises UserError for a folder that is damaged or another method's."""
        network, about = load_network(folder, _build, _KIND, device)
        C, H, W = (int(n) for n in about["shape"])
        kept = {k: v for k, v in about.items() if k in ("K", "T", "chain", "head", "mixture", "unet")}
        return cls(network, (C, H, W), kept)


def _chain(kind: str, K: int, T: int, mixture: Mixture) -> Discrete:
    if kind == "uniform":
        return uniform(K, betas("cosine_unsquared", T), mixture)
    if kind == "absorbing":
        return absorbing(K, reciprocal(T), K // 2, mixture)
    return discretised_gaussian(K, betas("linear", T).clamp(max=1), mixture)


def _build(about: dict[str, Any]) -> nn.Module:
    """The network of a description. Raises KeyError or ValueError for one that cannot be."""
    known = {"chain": ("gaussian", "uniform", "absorbing"), "mixture": ("paper", "exact")}
    for name, values in known.items():
        if about[name] not in values:
            raise ValueError(f"{name} is {about[name]!r}")
    sizes: Sequence[int] = (about["K"], about["T"])
    if any(type(n) is not int or not 1 <= n <= 100_000 for n in sizes):
        raise ValueError("K and T are whole numbers")
    if about["chain"] == "gaussian" and about["T"] * about["K"] ** 2 > 2**28:
        raise ValueError("a Gaussian chain keeps T K x K matrices: choose fewer values or levels")
    heads = {"logistic": PixelLogistic, "logits": PixelLogits}
    return heads[about["head"]](UNet(UNetConfig(**about["unet"])), about["K"])
