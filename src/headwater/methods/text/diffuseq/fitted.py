"""A fitted DiffuSeq and the folder that keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from headwater.codecs import Embedding
from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import betas
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.gallery import shipped_fitted
from headwater.models.saved import load_network, save_network
from headwater.nets.text_denoiser import TextDenoiser, TextDenoiserConfig

_KIND = "diffuseq"
_LONGEST = 100_000
"""Levels that a file may ask for."""


@dataclass(frozen=True, eq=False)
class FittedDiffuSeq:
    """Network, vocabulary and process: what `DiffuSeq.fit` returns."""

    network: TextDenoiser
    tokenizer: Tokenizer
    T: int = 2000
    schedule: str = "sqrt"

    @cached_property
    def process(self) -> Diffusion:
        """T levels; the network is told 0 .. 1000 whatever T is."""
        label = torch.arange(self.T, dtype=torch.float64) * (1000 / self.T)
        return Diffusion.vp(betas(self.schedule, self.T), label)

    @cached_property
    def denoiser(self) -> Denoiser:
        return Denoiser(self.network, self.process, predicts="x0")

    @property
    def codec(self) -> Embedding:
        """Words as vectors, in training with the noise of level 1 (sigma_0 of the paper)."""
        return self.network.codec(float(self.process.sigma[1]))

    @property
    def length(self) -> int:
        """Tokens in a row."""
        return self.network.config.length

    def save(self, folder: str | Path) -> None:
        """Write weights, sizes and vocabulary, whole or not at all."""
        about = {
            "kind": _KIND,
            "T": self.T,
            "schedule": self.schedule,
            "network": asdict(self.network.config),
            "tokenizer": self.tokenizer.to_json(),
        }
        save_network(folder, self.network, about)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> FittedDiffuSeq:
        """Read what `save` wrote, or what ships under a name.

        Raises UserError for a folder that is damaged or another method's.
        """
        folder = shipped_fitted(folder)
        network, about = load_network(folder, _build, _KIND, device)
        T, schedule = about.get("T"), about.get("schedule")
        need(type(T) is int and 1 <= T <= _LONGEST, f"{folder} names {T} levels: fit again")
        tokenizer = Tokenizer.from_json(str(about.get("tokenizer")))
        fits = isinstance(network, TextDenoiser) and tokenizer.size <= network.config.vocabulary
        need(fits, f"the vocabulary and the network in {folder} disagree: fit again")
        return cls(network, tokenizer, T, str(schedule))  # pyright: ignore[reportArgumentType]


def _build(about: dict[str, Any]) -> TextDenoiser:
    return TextDenoiser(TextDenoiserConfig(**about["network"]))
