"""A BERT encoder over vectors: post-norm blocks, exact GELU (Devlin et al. 2019; DistilBERT's are the same).

Weights published under BERT's or DistilBERT's names are read by `renamed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch.nn.functional as F
from torch import Tensor, cat, nn

from headwater.errors import UserError

EPS = 1e-12
"""BERT's layer norms."""

BERT = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm",
}
"""BERT's names of the parts of a layer, and ours."""

DISTILBERT = {
    "attention.q_lin": "attention.query",
    "attention.k_lin": "attention.key",
    "attention.v_lin": "attention.value",
    "attention.out_lin": "attention.out",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "up",
    "ffn.lin2": "down",
    "output_layer_norm": "norm",
}
"""DistilBERT's."""


def renamed(name: str, layout: Mapping[str, str], outside: Mapping[str, str]) -> str | None:
    """The name here of `<..>layer.<i>.<part>` by the layout of a layer, of others by how they begin.

    None for what is in neither. Networks keep their layers in an `Encoder` called encoder.
    """
    match = re.search(r"\blayer\.(\d+)\.(.+)\.(weight|bias)$", name)
    if match and match[2] in layout:
        return f"encoder.layers.{match[1]}.{layout[match[2]]}.{match[3]}"
    for theirs, ours in outside.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name[len(theirs) :]
    return None


def layer_count(names: Iterable[str]) -> int:
    """How many layers weights of these published names have."""
    return len({match[1] for name in names if (match := re.search(r"\blayer\.(\d+)\.", name))})


class Past:
    """Keys and values of the positions that one attention has already seen."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def extended(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Those so far and these, each (B, heads, L, d)."""
        if self.kept is not None:
            key, value = cat([self.kept[0], key], 2), cat([self.kept[1], value], 2)
        self.kept = key, value
        return key, value


class Attention(nn.Module):
    """Multi-head attention among the positions of x (B, L, dim)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"a width of {dim} does not split into {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, seen: Tensor | None = None, past: Past | None = None) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        if past is not None:
            k, v = past.extended(k, v)
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, seen, rate)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and a feed-forward block, each added to its input and then normalised."""

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.attention_norm, self.norm = nn.LayerNorm(dim, EPS), nn.LayerNorm(dim, EPS)
        self.up, self.down = nn.Linear(dim, feedforward), nn.Linear(feedforward, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor | None = None, past: Past | None = None) -> Tensor:
        x = self.attention_norm(x + self.drop(self.attention(x, seen, past)))
        return self.norm(x + self.drop(self.down(F.gelu(self.up(x)))))


class Encoder(nn.Module):
    """Layers one after the other: (B, L, dim) -> (B, L, dim)."""

    def __init__(self, layers: int, dim: int, heads: int, feedforward: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(dim, heads, feedforward, dropout) for _ in range(layers))

    def forward(self, x: Tensor, seen: Tensor | None = None, past: list[Past] | None = None) -> Tensor:
        """seen: bool, broadcastable to (B, heads, L, keys), True where a position may look.

        past: one per layer; x then continues the positions seen so far.
        """
        for i, layer in enumerate(self.layers):
            x = layer(x, seen, past[i] if past else None)
        return x


def check_sizes(whole: Mapping[str, object], dropout: float) -> None:
    """UserError unless the sizes are whole numbers above 0 and dropout is a probability below 1."""
    if any(type(v) is not int or v < 1 for v in whole.values()) or not 0 <= dropout < 1:
        raise UserError("sizes are whole numbers above 0, dropout is below 1")


def check_total(rows: int, widest: int, layers: int) -> None:
    """UserError for more numbers than 2^32: a damaged file must not ask for terabytes.

    rows: of the tables of words and positions. widest: the widest layer.
    """
    if (rows + 8 * widest * layers) * widest > 2**32:
        raise UserError("a network of this size fits no machine: check the sizes")
