"""A fitted D3PM of pictures: its grey values, its chain, its network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from headwater.core.schedule import betas, reciprocal
from headwater.discrete import Discrete, DiscreteDenoiser, Mixture, absorbing, uniform
from headwater.discrete.process import discretised_gaussian
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.categorical_unet import PixelLogistic, PixelLogits

Chain = Literal["gaussian", "uniform", "absorbing"]
Head = Literal["logistic", "logits"]


def quantised(image: Tensor, K: int) -> Tensor:
    """Pictures in [-1, 1] as the nearest of K even values, int64 of the same shape."""
    return ((image.clamp(-1, 1) + 1) * (K - 1) / 2).round().long()


def pictures(x: Tensor, K: int) -> Tensor:
    """Values 0 .. K-1 as float32 pictures in [-1, 1]."""
    return x.float() * (2 / (K - 1)) - 1


@dataclass(frozen=True)
class D3PMImagesConfig:
    """Sizes, values and chain."""

    network: UNetConfig
    shape: tuple[int, int, int]
    """(C, H, W) of the pictures."""
    K: int
    """Values of a channel."""
    T: int
    chain: Chain
    head: Head
    mixture: Mixture

    def __post_init__(self) -> None:
        need(2 <= self.K <= 100_000, f"a chain needs 2 values or more, not {self.K}: raise K")
        need(1 <= self.T <= MOST_STEPS, f"a chain has 1 to {MOST_STEPS} levels, not {self.T}: change T")
        need(
            self.chain != "gaussian" or self.T * self.K**2 <= 2**28,
            "a Gaussian chain keeps T K x K matrices: choose fewer values or levels",
        )


@dataclass(frozen=True, eq=False)
class FittedD3PMImages(Pretrained):
    """What `D3PMImages.fit` returns."""

    network: PixelLogistic | PixelLogits
    config: D3PMImagesConfig

    kind = "d3pm-images"

    @classmethod
    def networks(cls, config: D3PMImagesConfig) -> Parts:
        head = {"logistic": PixelLogistic, "logits": PixelLogits}[config.head]
        return {"network": head(UNet(config.network), config.K)}

    @cached_property
    def process(self) -> Discrete:
        """The chain over K values of a channel."""
        c = self.config
        if c.chain == "uniform":
            return uniform(c.K, betas("cosine_unsquared", c.T), c.mixture)
        if c.chain == "absorbing":
            return absorbing(c.K, reciprocal(c.T), c.K // 2, c.mixture)
        return discretised_gaussian(c.K, betas("linear", c.T).clamp(max=1), c.mixture)

    @cached_property
    def denoiser(self) -> DiscreteDenoiser:
        """The network, which answers logits of clean values."""
        return DiscreteDenoiser(self.network, self.process)
