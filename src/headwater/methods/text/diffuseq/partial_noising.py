"""Noise on one part of a sequence only: DiffuSeq's loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.codecs import Embedding
from headwater.core import Denoiser
from headwater.core.transition import Level, NoiseSource
from headwater.methods.text.diffuseq.sequence_pairs import Pairs


def gaussian(like: Tensor, level: Level = 0) -> Tensor:
    """Noise from torch's global generator, which training seeds before every step."""
    return torch.randn_like(like)


@dataclass(frozen=True, eq=False)
class Losses:
    """The terms of DiffuSeq's loss per row, each (B,)."""

    mse: Tensor
    """|z_0 - f(z_t, t)|^2, mean over positions and channels; the word's own vector for z_0 at t = 1."""
    prior: Tensor
    """|alpha_T z_0|^2, mean likewise: keeps the vectors from growing."""
    rounding: Tensor
    """-log p(w | z_0), mean over positions: keeps the vectors apart."""

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.mse + self.prior + self.rounding


def losses(
    denoiser: Denoiser, codec: Embedding, pairs: Pairs, t: Tensor, noise: NoiseSource = gaussian
) -> Losses:
    """The loss of rows at levels t (B,) int64, 1 .. T. `noise` is asked for the noise of z_0, then of z_t."""
    q, words = denoiser.process, codec.encode(pairs.ids)
    z = codec.encode(pairs.ids, noise)
    noised = q.combine(z, noise(z, t), t).where(pairs.target[..., None], z)
    aim = words.where((t == 1).to(z.device)[:, None, None], z)
    found = denoiser(noised, t).x0
    nats = F.cross_entropy(codec.logits(z).flatten(0, 1), pairs.ids.flatten(), reduction="none")
    return Losses(
        (aim - found).square().mean((1, 2)),
        (float(q.alpha[-1]) * z).square().mean((1, 2)),
        nats.view_as(pairs.ids).mean(1),
    )
