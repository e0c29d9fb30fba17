"""A fitted DiffuSeq."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from headwater.codecs import Embedding
from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import betas
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.nets.text_denoiser import TextDenoiser, TextDenoiserConfig, published, published_sizes


@dataclass(frozen=True)
class DiffuSeqConfig:
    """Sizes, vocabulary and process."""

    network: TextDenoiserConfig
    tokenizer: Tokenizer
    T: int = 2000
    schedule: str = "sqrt"
    length: int | None = None
    """Tokens in a row; None: as many as the network has places for."""

    def __post_init__(self) -> None:
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS} timesteps")
        length = self.network.length
        need(self.length is None or 1 <= self.length <= length, f"a row has 1 to {length} tokens")
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

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """Shark-NLP/DiffuSeq: settings are its training_args.json; `tokenizer` names another vocabulary."""
        network = published_sizes(shapes, settings.get("num_heads"))
        tokenizer = Tokenizer.named(settings.get("tokenizer", "bert-base-uncased"))
        T, schedule = settings.get("diffusion_steps", 2000), settings.get("noise_schedule", "sqrt")
        length = settings.get("seq_len", min(128, network.length))
        config = DiffuSeqConfig(network, tokenizer, T, schedule, length)
        return Layout(config, lambda name: prefixed(published(name)))

    @cached_property
    def process(self) -> Diffusion:
        """T timesteps; the labels of the network are 0 .. 1000 whatever T is."""
        T = self.config.T
        label = torch.arange(T, dtype=torch.float64) * (1000 / T)
        return Diffusion.vp(betas(self.config.schedule, T), label)

    @cached_property
    def denoiser(self) -> Denoiser:
        """The network, which answers clean word vectors."""
        return Denoiser(self.network, self.process, predicts="x0")

    @property
    def length(self) -> int:
        """Tokens in a row."""
        return self.config.length or self.config.network.length

    @property
    def codec(self) -> Embedding:
        """Words as vectors, in training with the noise of timestep 1 (sigma_0 of the paper)."""
        return self.network.codec(float(self.process.sigma[1]))
