"""A transformer over categories in which every position sees all others: tokens and a time in, logits out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.errors import need
from headwater.nets.adm_blocks import timestep_embedding

_LARGEST = 2**32
"""Numbers that a network may have: a damaged file must not ask for terabytes."""


@dataclass(frozen=True)
class TextTransformerConfig:
    """Sizes; the defaults are those of D3PM's character model ("gpt_base", Austin et al. 2021, B.1).

    Raises UserError for sizes that cannot be.
    """

    K: int
    """Categories, in and out."""
    length: int = 256
    """Most positions."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    dropout: float = 0.0

    def __post_init__(self) -> None:
        whole = (self.K, self.length, self.width, self.layers, self.heads)
        sound = all(type(n) is int and n >= 1 for n in whole)
        need(sound, "every size of a transformer is a whole number of 1 or more")
        multiple = 2 * self.heads
        need(
            self.width % multiple == 0,
            f"choose a width that is a multiple of {multiple}; it is {self.width}",
        )
        need(0 <= self.dropout < 1, f"dropout is {self.dropout}: give a share from 0 to below 1")
        size = 12 * self.layers * self.width**2 + (2 * self.K + self.length) * self.width
        need(
            size <= _LARGEST, "this transformer would be larger than 4 billion numbers: choose a smaller one"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class TextTransformer(nn.Module):
    """(B, L) int64, (B,) -> (B, L, K): pre-norm blocks, the time added to the tokens.

    Positions are rotations of queries and keys (Su et al. 2021), so only distances count: with a learnt
    vector per position, small networks stay at the frequencies of single tokens for thousands of steps.
    """

    def __init__(self, config: TextTransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.token = nn.Embedding(config.K, width)
        self.time = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.K)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Raises ValueError for a sequence longer than the network knows."""
        if x.ndim != 2 or x.shape[1] > self.config.length:
            raise ValueError(f"pass x of shape (B, L <= {self.config.length}); it is {tuple(x.shape)}")
        time = self.time(timestep_embedding(label, self.config.width).to(self.token.weight.dtype))
        h = self.token(x) + time[:, None]
        turn = rotations(x.shape[1], self.config.width // self.config.heads, x.device)
        for block in self.blocks:
            h = block(h, turn)
        return self.out(self.norm(h)).float()


class Block(nn.Module):
    """h + attention(norm(h)), then h + feed-forward(norm(h)): (B, L, width) -> (B, L, width)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.qkv(self.norm1(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        q, k = rotated(q, turn), rotated(k, turn)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=rate).transpose(1, 2).flatten(2)
        h = h + self.drop(self.mix(mixed))
        return h + self.drop(self.down(F.gelu(self.up(self.norm2(h)))))


def rotations(length: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angle of each position and pair of numbers, (length, dim / 2) each."""
    pace = 10_000.0 ** (-torch.arange(0, dim, 2, device=device) / dim)
    angle = torch.arange(length, device=device)[:, None] * pace
    return angle.cos(), angle.sin()


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, L, d), each pair of numbers turned by the angle of its position."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = (part.to(x) for part in turn)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
