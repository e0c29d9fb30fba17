"""The transformer of CLIP-Diffusion-LM: noisy word vectors and picture features in, clean word vectors out.

DistilBERT's masked-word model without its embedding and its output matrix. It takes no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.codecs import Embedding
from headwater.errors import UserError
from headwater.nets.bert import DISTILBERT, EPS, Encoder, check_sizes, check_total, layer_count, renamed

Fusion = Literal["concat", "add"]
"""Picture and text features as two more positions, or added to every word vector."""

_RENAMED = {
    "embedding.weight": "table",
    "lm_head.weight": "head",
    "model.distilbert.embeddings.position_embeddings.weight": "position",
    "model.distilbert.embeddings.LayerNorm": "norm",
    "model.vocab_transform": "transform",
    "model.vocab_layer_norm": "transform_norm",
    "segment_embedding.weight": "segment",
    "image_linear": "image",
    "text_linear": "text",
    "input_projection": "up",
    "output_projection": "down",
}


@dataclass(frozen=True)
class CaptionDenoiserConfig:
    """Sizes of a `CaptionDenoiser`; the defaults are the paper's."""

    vocabulary: int = 30522
    length: int = 16
    dim: int = 768
    """Width of a word vector; other than `hidden` it is projected in and out."""
    features: int = 512
    """Width of picture and text features."""
    hidden: int = 768
    layers: int = 6
    heads: int = 12
    feedforward: int = 3072
    positions: int = 512
    dropout: float = 0.1
    fusion: Fusion = "concat"
    words: Literal["frozen", "trained"] = "frozen"
    """Whether word vectors, and the matrix that tells words from vectors, stay as they are."""

    def __post_init__(self) -> None:
        named = ("dropout", "fusion", "words")
        check_sizes({k: v for k, v in vars(self).items() if k not in named}, self.dropout)
        if self.positions < self.length + 2:
            raise UserError(f"{self.length} words and two features need {self.length + 2} positions")
        widest = max(self.hidden, self.feedforward, self.dim, self.features)
        check_total(self.vocabulary + self.positions, widest, self.layers)


class CaptionDenoiser(nn.Module):
    """x (B, L, dim) -> x_0 (B, L, dim), given features `image` and `text`, both (B, D), and `with_text` (B,).

    Where with_text is 0, not 1, the text features are not looked at. The label is ignored.
    """

    def __init__(self, config: CaptionDenoiserConfig) -> None:
        super().__init__()
        c = self.config = config
        frozen = c.words == "frozen"
        # Vectors of unit variance: the process ends in noise of that size.
        self.table = nn.Parameter(torch.randn(c.vocabulary, c.dim), requires_grad=not frozen)
        self.head = nn.Parameter(self.table.detach().clone(), requires_grad=not frozen)
        same = c.dim == c.hidden
        self.up = nn.Identity() if same else nn.Linear(c.dim, c.hidden)
        self.down = nn.Identity() if same else nn.Linear(c.hidden, c.dim)
        self.image, self.text = nn.Linear(c.features, c.hidden), nn.Linear(c.features, c.hidden)
        self.segment = nn.Parameter(torch.randn(2, c.hidden)) if c.fusion == "concat" else None
        self.position = nn.Parameter(torch.randn(c.positions, c.hidden))
        self.norm, self.drop = nn.LayerNorm(c.hidden, EPS), nn.Dropout(c.dropout)
        self.encoder = Encoder(c.layers, c.hidden, c.heads, c.feedforward, c.dropout)
        self.transform, self.transform_norm = nn.Linear(c.hidden, c.hidden), nn.LayerNorm(c.hidden, EPS)

    @property
    def codec(self) -> Embedding:
        """Its words as vectors."""
        return Embedding(self.table, head=self.head)

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        image: Tensor,
        text: Tensor,
        with_text: Tensor,
        real: Tensor | None = None,
    ) -> Tensor:
        """real: bool (B, L), False for words that are not looked at; all are by default."""
        return self.hidden(x, image, text, with_text, real)[:, : x.shape[1]]

    def hidden(
        self, x: Tensor, image: Tensor, text: Tensor, with_text: Tensor, real: Tensor | None = None
    ) -> Tensor:
        """The answer at every position, (B, L + 2, dim) where features are positions."""
        h, seen = self.up(x), real
        picture, words = self.image(image)[:, None], self.text(text)[:, None]
        if self.segment is None:
            h = h + picture + with_text[:, None, None] * words
        else:
            h = torch.cat([h + self.segment[0], torch.cat([picture, words], 1) + self.segment[1]], 1)
            first = (
                torch.ones(len(x), x.shape[1], dtype=torch.bool, device=x.device) if real is None else real
            )
            seen = torch.cat([first, torch.ones_like(first[:, :1]), with_text[:, None] > 0], 1)
        h = self.drop(self.norm(h + self.position[: h.shape[1]]))
        h = self.encoder(h, None if seen is None else seen[:, None, None])
        return self.down(self.transform_norm(F.gelu(self.transform(h))))


def published(name: str) -> str | None:
    """The name in `CaptionDenoiser` of a weight of the authors' captioners.

    Their output matrix may have a bias, which is zero and has no place here.
    """
    return renamed(name, DISTILBERT, _RENAMED)


def published_sizes(
    shapes: Mapping[str, tuple[int, ...]], length: int, heads: int | None = None
) -> CaptionDenoiserConfig:
    """Sizes of the authors' captioners by names and shapes; heads of width 64 unless their number is given.

    Raises KeyError where a weight is missing.
    """
    vocabulary, dim = shapes["embedding.weight"]
    positions, hidden = shapes["model.distilbert.embeddings.position_embeddings.weight"]
    return CaptionDenoiserConfig(
        vocabulary=vocabulary,
        length=length,
        dim=dim,
        features=shapes["image_linear.weight"][1],
        hidden=hidden,
        layers=layer_count(shapes),
        heads=heads or max(1, hidden // 64),
        feedforward=shapes["model.distilbert.transformer.layer.0.ffn.lin1.weight"][0],
        positions=positions,
        fusion="concat" if "segment_embedding.weight" in shapes else "add",
        words="trained" if "input_projection.weight" in shapes else "frozen",
    )
