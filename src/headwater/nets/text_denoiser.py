"""The transformer of Diffusion-LM and DiffuSeq: noisy word vectors and a time in, clean word vectors out;
and the same layers as a model that reads from left to right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.codecs import Embedding
from headwater.nets.adm_blocks import timestep_embedding
from headwater.nets.bert import BERT, EPS, Encoder, Past, check_sizes, check_total, layer_count, renamed

_RENAMED = {
    "word_embedding.weight": "table",
    "lm_head.bias": "bias",
    "position_embeddings.weight": "position",
    "LayerNorm": "norm",
    "time_embed": "time",
    "input_up_proj": "up",
    "output_down_proj": "down",
}


@dataclass(frozen=True)
class TextDenoiserConfig:
    """Sizes of a `TextDenoiser`; the defaults are DiffuSeq's, 91 M weights."""

    vocabulary: int = 30522
    length: int = 128
    dim: int = 128
    """Width of a word vector."""
    time_dim: int = 128
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    feedforward: int = 3072
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_sizes({k: v for k, v in vars(self).items() if k != "dropout"}, self.dropout)
        widest = max(self.hidden, self.feedforward, self.dim, self.time_dim)
        check_total(self.vocabulary + self.length, widest, self.layers)


class TextDenoiser(nn.Module):
    """x (B, L, dim) at label (B,) -> x_0 (B, L, dim), L <= length; padding is a token like any other.

    `table` and `bias` are the codec's, trained along.
    """

    def __init__(self, config: TextDenoiserConfig) -> None:
        super().__init__()
        c = self.config = config
        self.table = nn.Parameter(torch.randn(c.vocabulary, c.dim))
        self.bias = nn.Parameter(torch.zeros(c.vocabulary))
        self.position = nn.Parameter(torch.randn(c.length, c.hidden))
        wide = 4 * c.time_dim
        self.time = nn.Sequential(nn.Linear(c.time_dim, wide), nn.SiLU(), nn.Linear(wide, c.hidden))
        self.up = nn.Sequential(nn.Linear(c.dim, c.hidden), nn.Tanh(), nn.Linear(c.hidden, c.hidden))
        self.norm, self.drop = nn.LayerNorm(c.hidden, EPS), nn.Dropout(c.dropout)
        self.encoder = Encoder(c.layers, c.hidden, c.heads, c.feedforward, c.dropout)
        self.down = nn.Sequential(nn.Linear(c.hidden, c.hidden), nn.Tanh(), nn.Linear(c.hidden, c.dim))

    def codec(self, std: float = 0.0) -> Embedding:
        """Its words as vectors; `std` is the noise of x_0 in training."""
        return Embedding(self.table, self.bias, std)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        time = self.time(timestep_embedding(label, self.config.time_dim).to(self.table.dtype))
        h = self.up(x) + self.position[: x.shape[1]] + time[:, None]
        return self.down(self.encoder(self.drop(self.norm(h))))


def published(name: str) -> str | None:
    """The name in `TextDenoiser` of a weight of the authors' DiffuSeq or Diffusion-LM.

    Their output words are the word vectors themselves, so both have one name here.
    """
    return "table" if name == "lm_head.weight" else renamed(name, BERT, _RENAMED)


def published_sizes(shapes: Mapping[str, tuple[int, ...]], heads: int | None = None) -> TextDenoiserConfig:
    """Sizes of the authors' networks by names and shapes; heads of width 64 unless their number is given.

    Raises KeyError where a weight is missing.
    """
    vocabulary, dim = shapes["word_embedding.weight"]
    length, hidden = shapes["position_embeddings.weight"]
    return TextDenoiserConfig(
        vocabulary=vocabulary,
        length=length,
        dim=dim,
        time_dim=shapes["time_embed.0.weight"][1],
        hidden=hidden,
        layers=layer_count(shapes),
        heads=heads or max(1, hidden // 64),
        feedforward=shapes["input_transformers.layer.0.intermediate.dense.weight"][0],
    )


class NextWord(nn.Module):
    """`TextDenoiser` without its time: logits of the word after each position, which sees those before it."""

    def __init__(self, config: TextDenoiserConfig) -> None:
        super().__init__()
        self.body = TextDenoiser(config)
        self.body.time = nn.Sequential()

    def forward(
        self,
        ids: Tensor,
        place: Tensor | None = None,
        seen: Tensor | None = None,
        past: list[Past] | None = None,
    ) -> Tensor:
        """ids (B, L) int64 -> (B, L, V).

        place: (B, L) int64, positions in the row, by default from 0. seen, past: as `Encoder`'s; by default a
        position sees itself and those before it.
        """
        codec, body = self.body.codec(), self.body
        if place is None:
            place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        seen = _causal(ids) if seen is None else seen
        h = body.drop(body.norm(body.up(codec.encode(ids)) + body.position[place]))
        return codec.logits(body.down(body.encoder(h, seen, past)))

    def continued(
        self, ids: Tensor, real: Tensor, end: int, choose: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """The next words (B, words), until every text has had the word `end` or is full; a text that has
        ended has `end` again. `choose` takes one by logits (B, V); by default the likeliest is.

        ids (B, L) int64, padded in front, where real (B, L) bool is False. Keys and values of earlier words
        are kept, so each further call costs one word.
        """
        length = self.body.config.length
        place = (real.cumsum(1) - 1).clamp(min=0)
        # Padding before a text sees itself: a row that sees nothing would be not a number.
        itself = torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
        seen = _causal(ids) & real[:, None] | itself
        past = [Past() for _ in range(self.body.config.layers)]
        logits = self(ids, place, seen[:, None], past)
        written, last = list[Tensor](), place[:, -1:]
        ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        while True:
            some = logits[:, -1]
            word = (some.argmax(-1) if choose is None else choose(some)).where(~ended, end)
            written.append(word)
            ended, last = ended | (word == end), last + 1
            if bool((ended | (last[:, 0] >= length)).all()):
                return torch.stack(written, 1)
            real = F.pad(real, (0, 1), value=True)
            logits = self(word[:, None], last.clamp(max=length - 1), real[:, None, None], past)


def _causal(ids: Tensor) -> Tensor:
    """(L, L) bool for ids (B, L), True where a position may look."""
    return torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
