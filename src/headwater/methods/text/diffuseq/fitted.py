"""A fitted DiffuSeq."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from headwater.codecs import Embedding
from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import betas
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.text_denoiser import TextDenoiser, TextDenoiserConfig


@dataclass(frozen=True)
class DiffuSeqConfig:
    """Sizes, vocabulary and process."""

    network: TextDenoiserConfig
    tokenizer: Tokenizer
    T: int = 2000
    schedule: str = "sqrt"

    def __post_init__(self) -> None:
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS}")
        fits = self.tokenizer.size <= self.network.vocabulary
        need(fits, f"the network has no room for {self.tokenizer.size} words: raise its vocabulary")


@dataclass(frozen=True, eq=False)
class FittedDiffuSeq(Pretrained):
    """What `DiffuSeq.fit` returns."""

    network: TextDenoiser
    config: DiffuSeqConfig

    kind = "diffuseq"

    @classmethod
    def networks(cls, config: DiffuSeqConfig) -> Parts:
        return {"network": TextDenoiser(config.network)}

    @cached_property
    def process(self) -> Diffusion:
        """T levels; the network is told 0 .. 1000 whatever T is."""
        T = self.config.T
        label = torch.arange(T, dtype=torch.float64) * (1000 / T)
        return Diffusion.vp(betas(self.config.schedule, T), label)

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, which answers clean word vectors."""
        return Denoiser(self.network, self.process, predicts="x0")

    @property
    def codec(self) -> Embedding:
        """Words as vectors, in training with the noise of level 1 (sigma_0 of the paper)."""
        return self.network.codec(float(self.process.sigma[1]))
